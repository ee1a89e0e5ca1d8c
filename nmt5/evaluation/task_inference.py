"""A checkpoint's outputs on a registered task, as T5X's `infer` writes them, without scores.

    DIRECTORY/<task>-predict.jsonl-00000-of-00001             features as text, and the prediction
    DIRECTORY/<task>-predict.jsonl-00000-of-00001.COMPLETED

A task whose files are complete is passed over, whatever checkpoint they are of: so does T5X.
"""

from collections.abc import Callable
import functools
import os
import time

from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.benchmarks.benchmark import Benchmark
from nmt5.evaluation.inference_files import is_complete, predictions_path, write_predictions
from nmt5.evaluation.loading import load_model
from nmt5.evaluation.predictor import predict, task_decoding
from nmt5.evaluation.task_config import TaskConfig, first_examples, part_reader
from nmt5.evaluation.task_features import task_features
from nmt5.evaluation.task_runner import TaskEvaluation, parts_of, seqio_name

_AS_TEXT = "_pretokenized"


def infer_task(
    checkpoint: os.PathLike | str,
    *,
    benchmark: Benchmark,
    task: TaskConfig,
    wanted: TaskEvaluation,
    vocabulary: Vocabulary,
    output_dir: os.PathLike | str,
    decoding: DecodingConfig | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Decodes a split of a task in every language, and returns the paths of the files.

    Args:
      checkpoint: of any format; not read where all files are complete.
      benchmark: the task.
      task: where its examples are.
      wanted: languages, split and number of examples.
      vocabulary: of the checkpoint.
      output_dir: T5X's INFER_OUTPUT_DIR.
      decoding: the search; lengths are the task's.
      say: takes lines about what is being done, and the speed.
      progress: takes (what, done, of how many).

    Raises:
      CheckpointError: missing or damaged.
      VocabularyError: the checkpoint was trained with another vocabulary.
      ConfigError: the task has no such split or language.
      DataError: an example is wrong, or a split is empty.
      StorageError: a file cannot be written.
    """
    decoding = task_decoding(benchmark, decoding or DecodingConfig(), task=task)
    read = part_reader(task, vocabulary=vocabulary)
    model, paths = None, []
    for part in parts_of(benchmark, wanted):
        name = seqio_name(part)
        paths.append(os.fspath(predictions_path(output_dir, task=name)))
        if is_complete(output_dir, task=name):
            say(f"{paths[-1]} is complete already; remove it and its mark to decode again")
            continue
        examples = first_examples(read, part, limit=wanted.max_examples)
        if model is None:
            model = load_model(checkpoint, vocabulary=vocabulary)
        report = None if progress is None else functools.partial(progress, name)
        started = time.monotonic()
        found = predict(model, examples, decoding=decoding, progress=report)
        seconds = max(time.monotonic() - started, 1e-9)
        shown = [
            {key: value for key, value in features.items() if key.endswith(_AS_TEXT)}
            for features in task_features(examples, vocabulary=vocabulary, decoding=decoding)
        ]
        write_predictions(output_dir, task=name, rows=zip(shown, found.texts, strict=True))
        cut = found.found.num_cut_inputs
        say(
            f"{name}, {part.split}: {len(examples)} examples, {len(examples) / seconds:.1f} "
            f"examples/s" + (f", {cut} inputs cut: too long" if cut else "")
        )
    return paths
