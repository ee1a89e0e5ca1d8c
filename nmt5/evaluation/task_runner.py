"""One checkpoint's outputs on a task, scored in every language.

Writes into a directory

    inference_eval/<task>-metrics.jsonl   scores by step, and
    inference_eval/<task>-<step>.jsonl    every example with its output, as T5X's eval does
    task_scores.json                      all scores with intervals and signatures; written last
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

from etils import epath

from nmt5.checkpoints.manager import is_native
from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.core.files import read_json, sha256, write_json
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
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.vocabulary_pieces import VocabularyPieces

FORMAT = 1
TASK_SCORES = "task_scores.json"


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
        "metrics": [*(metric.name for metric in benchmark.metrics), *benchmark.text_metrics],
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
        _write_t5x(output, part, examples, outputs, step=step, scores=scores)
        languages[part.language] = {
            "task": seqio_name(part),
            "main": next(iter(scores)),
            "order": list(scores),
            "cut_inputs": cut,
            "scores": {name: one.to_json() for name, one in scores.items()},
        }
    result = {"format": FORMAT, "signature": signature, "step": step, "languages": languages}
    write_json(output / TASK_SCORES, result)
    return result


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


def score_table(result: Mapping[str, Any]) -> str:
    """Returns the scores of `evaluate_task` as lines of text, one per language."""
    names = next(iter(result["languages"].values()))["order"]
    width = max(12, *map(len, names))
    lines = [f"{'':14}" + " ".join(f"{name:>{width}}" for name in names) + "   95% of the first"]
    for language, found in result["languages"].items():
        scores = [found["scores"][name] for name in names]
        low, high = scores[0]["low"], scores[0]["high"]
        ends = "" if low is None else f"   {low:.1f} to {high:.1f}"
        cells = " ".join(f"{one['value']:{width}.2f}" for one in scores)
        cut = f"   {found['cut_inputs']} inputs cut" if found["cut_inputs"] else ""
        lines.append(f"{language:14}{cells}{ends}{cut}")
    return "\n".join(lines)


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
    report = None
    if progress is not None:
        report = lambda done, total: progress(part.language, done, total)  # noqa: E731
    found = predict(model, examples, decoding=decoding, progress=report)
    return found.texts, found.found.num_cut_inputs


def _write_t5x(output, part, examples, outputs, *, step, scores) -> None:
    name = seqio_name(part)
    shown = (
        Scored(
            inputs={"inputs_pretokenized": one.inputs, "targets_pretokenized": one.targets},
            target=list(one.references) if len(one.references) > 1 else one.references[0],
            prediction=text,
        )
        for one, text in zip(examples, outputs, strict=True)
    )
    write_scored(output, task=name, step=step, examples=shown)
    values = {key: one.interval.value for key, one in scores.items()}
    if {"step": step, **values} not in read_metrics(output, task=name):
        append_metrics(output, task=name, step=step, metrics=values)


def read_outputs(directory: os.PathLike | str, task: str) -> list[str]:
    """Returns the outputs on a SeqIO task that an evaluation has written.

    Raises:
      DataError: it has not.
      StorageError: the directory has no scores.
    """
    remedy = "evaluate the checkpoint first"
    scores = read_json(epath.Path(directory) / TASK_SCORES, what="task scores", remedy=remedy)
    path = epath.Path(directory) / "inference_eval" / f"{task}-{scores['step']:06}.jsonl"
    if not path.exists():
        raise DataError(f"{path} does not exist; {remedy}")
    return [json.loads(line)["prediction"] for line in path.read_text().splitlines()]


def earlier_scores(output: epath.Path, signature: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the scores in a directory if they have this signature."""
    path = output / TASK_SCORES
    if not path.exists():
        return None
    found = read_json(path, what="task scores", remedy="remove it and evaluate again")
    if isinstance(found, dict) and found.get("format") == FORMAT:
        return found if found.get("signature") == signature else None
    return None


def checkpoint_files(checkpoint: os.PathLike | str) -> str:
    """Returns what tells the files of a checkpoint, of any format, from those of another."""
    if is_native(checkpoint):
        return checkpoint_identity(checkpoint)[1]
    # A public checkpoint has no list of checksums; names, sizes and times must do.
    root = epath.Path(checkpoint)
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    stats = [(os.fspath(path), path.stat()) for path in files if not path.is_dir()]
    return sha256(repr([(name, one.length, one.mtime) for name, one in stats]).encode())


def _fingerprint(examples: Sequence[TextExample]) -> str:
    text = json.dumps([(one.inputs, one.targets, one.references) for one in examples])
    return sha256(text.encode())
