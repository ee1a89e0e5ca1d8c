"""One checkpoint's outputs on a task, scored in every language; `task_scores` has the files."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
import os
from typing import Any

from etils import epath

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.core.files import sha256
from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part
from nmt5.evaluation.benchmarks.scoring import (
    compare_predictions,
    read_predictions,
    score_predictions,
)
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
from nmt5.evaluation.benchmarks.task_names import eval_task_name
from nmt5.evaluation.loading import LoadedModel, load_model
from nmt5.evaluation.predictor import predict, task_decoding
from nmt5.evaluation.task_config import PartReader, TaskConfig, first_examples, part_reader
from nmt5.evaluation.task_features import scored_examples
from nmt5.evaluation.task_scores import (
    TASK_SCORES,
    checkpoint_files,
    earlier_scores,
    read_outputs,
    write_language,
    write_task_scores,
)
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.vocabulary_pieces import VocabularyPieces


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskEvaluation:
    """What of a task is evaluated.

    Attributes:
      languages: () for all that the split has; of a SeqIO mixture the names of its tasks.
      split: "" for the one that is reported, test where there is one.
      max_examples: the first so many of each language; None for all.
      num_draws: bootstrap draws of intervals and comparisons.
      seed: of the draws.
    """

    languages: tuple[str, ...] = ()
    split: str = ""
    max_examples: int | None = None
    num_draws: int = 1000
    seed: int = 0


def parts_of(benchmark: Benchmark, wanted: TaskEvaluation) -> tuple[Part, ...]:
    """Returns the parts that are evaluated, one per language.

    Raises:
      ConfigError: the benchmark has no such split or language.
    """
    split = wanted.split or benchmark.test_split
    if split not in benchmark.splits:
        raise ConfigError(f"{benchmark.name}: {unknown_name('split', split, benchmark.splits)}")
    limited = {
        "train": benchmark.train_languages,
        "validation": benchmark.validation_languages,
    }.get(split, ())
    known = limited or benchmark.languages
    for language in wanted.languages:
        if language not in known and (limited or not benchmark.has(language)):
            what = f"language of split '{split}'"
            raise ConfigError(f"{benchmark.name}: {unknown_name(what, language, known)}")
    return tuple(
        Part(benchmark=benchmark.name, language=language, split=split)
        for language in wanted.languages or known
    )


def seqio_name(part: Part) -> str:
    """Returns the name of the SeqIO task that evaluates a part, also for the names of files."""
    if part.benchmark in BENCHMARKS:
        return eval_task_name(part.benchmark, part.language)
    row = find_benchmark(part.benchmark)
    # A benchmark without files is a SeqIO task or mixture, whose "languages" are its tasks.
    if not any(row.splits.values()):
        return part.language
    several = len(row.languages) > 1
    return eval_task_name(part.benchmark, part.language) if several else part.benchmark


def evaluate_task(
    checkpoint: os.PathLike | str,
    *,
    benchmark: Benchmark,
    task: TaskConfig,
    wanted: TaskEvaluation,
    vocabulary: Vocabulary,
    output_dir: os.PathLike | str,
    inference_dir: os.PathLike | str | None = None,
    decoding: DecodingConfig | None = None,
    predictions: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Scores a checkpoint on a task, or returns the scores if they are there already.

    Args:
      checkpoint: of any format; not read where all predictions are given.
      benchmark: the task.
      task: where its examples are.
      wanted: what of it.
      vocabulary: of the checkpoint.
      output_dir: where the files go.
      inference_dir: where T5X's files go instead: several checkpoints of one run have one there.
      decoding: the search; lengths are the task's.
      predictions: file of outputs by language, instead of the checkpoint's.
      say: takes lines about what is being done.
      progress: takes (what, done, of how many).

    Returns:
      The content of `task_scores.json`: `signature`, `step`, and `languages`, by code the scores.

    Raises:
      CheckpointError: missing or damaged.
      VocabularyError: the checkpoint was trained with another vocabulary.
      DataError: an example or a file of predictions is wrong, or a split is empty.
      StorageError: the files cannot be written.
    """
    output = epath.Path(output_dir)
    decoding = task_decoding(benchmark, decoding or DecodingConfig(), task=task)
    parts = parts_of(benchmark, wanted)
    read = part_reader(task, vocabulary=vocabulary)
    texts = {part: first_examples(read, part, limit=wanted.max_examples) for part in parts}
    given = dict(predictions or {})
    if unknown := [name for name in given if name not in {part.language for part in parts}]:
        known = [part.language for part in parts]
        raise ConfigError(f"predictions: {unknown_name('language', unknown[0], known)}")
    signature = {
        "checkpoint": os.fspath(checkpoint),
        "identity": checkpoint_files(checkpoint) if len(given) < len(parts) else "",
        "vocabulary_fingerprint": vocabulary.fingerprint,
        "examples": {part.language: _fingerprint(some) for part, some in texts.items()},
        "predictions": given,
        "decoding": decoding.signature(),
        "wanted": json.loads(json.dumps(dataclasses.asdict(wanted))),
        "metrics": [*(metric.signature for metric in benchmark.metrics), *benchmark.text_metrics],
    }
    if (found := earlier_scores(output, signature)) is not None:
        say(f"{checkpoint}: scores are in {output / TASK_SCORES} already")
        return found
    model = None
    if len(given) < len(parts):
        model = load_model(checkpoint, vocabulary=vocabulary)
    step = model.description.step if model is not None else 0
    languages = {}
    for part, examples in texts.items():
        say(f"{checkpoint}: {seqio_name(part)}, {part.split}: {len(examples)} examples")
        outputs, cut = _outputs(
            part, examples, given=given, model=model, decoding=decoding, progress=progress
        )
        scores = score_predictions(
            benchmark,
            outputs,
            examples=examples,
            language=part.language,
            split=part.split,
            num_draws=wanted.num_draws,
            seed=wanted.seed,
            pieces=VocabularyPieces(vocabulary),
        )
        languages[part.language] = write_language(
            output if inference_dir is None else inference_dir,
            task=seqio_name(part),
            step=step,
            scores=scores,
            num_cut=cut,
            examples=scored_examples(examples, outputs, vocabulary=vocabulary, decoding=decoding),
        )
    return write_task_scores(output, signature=signature, step=step, languages=languages)


def compare_tasks(
    first: os.PathLike | str,
    *,
    second: os.PathLike | str,
    benchmark: Benchmark,
    read: PartReader,
    wanted: TaskEvaluation,
    vocabulary: Vocabulary,
) -> dict[str, dict[str, float]]:
    """Returns `{language: second - first}` in the main score, paired over examples, with p-values.

    Args:
      first: directory of `evaluate_task`.
      second: another one, of the same task.
      benchmark: the task.
      read: gives its examples.
      wanted: what of it was evaluated.
      vocabulary: of the checkpoints, for "spbleu".

    Raises:
      ConfigError: the task's scores cannot be compared.
      DataError: the two were not evaluated on the same examples.
      StorageError: a directory has no scores.
    """
    found = {}
    for part in parts_of(benchmark, wanted):
        examples = first_examples(read, part, limit=wanted.max_examples)
        pair = [read_outputs(directory, seqio_name(part)) for directory in (first, second)]
        for directory, outputs in zip((first, second), pair, strict=True):
            if len(outputs) != len(examples):
                raise DataError(
                    f"{directory}: {len(outputs)} outputs of {seqio_name(part)}, expected "
                    f"{len(examples)}; evaluate both checkpoints with the same settings"
                )
        found[part.language] = compare_predictions(
            benchmark,
            pair[0],
            second=pair[1],
            examples=examples,
            language=part.language,
            num_draws=wanted.num_draws,
            seed=wanted.seed,
            pieces=VocabularyPieces(vocabulary),
        ).to_json()
    return found


def _outputs(
    part: Part,
    examples: Sequence[TextExample],
    *,
    given: Mapping[str, str],
    model: LoadedModel | None,
    decoding: DecodingConfig,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[list[str], int]:
    if part.language in given:
        return read_predictions(given[part.language], expected=len(examples)), 0
    assert model is not None
    report = None if progress is None else functools.partial(progress, part.language)
    found = predict(model, examples, decoding=decoding, progress=report)
    return found.texts, found.found.num_cut_inputs


def _fingerprint(examples: Sequence[TextExample]) -> str:
    text = json.dumps([(one.inputs, one.targets, one.references) for one in examples])
    return sha256(text.encode())
