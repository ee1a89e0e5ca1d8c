"""The files in which T5X leaves scores and outputs, so that its readers can read nmt5's.

    DIRECTORY/inference_eval/<task>-metrics.jsonl     one line per checkpoint: step and scores
    DIRECTORY/inference_eval/<task>-000020.jsonl      one line per example of the one at step 20
    DIRECTORY/<task>-predict.jsonl-00000-of-00001     one line per example, of `infer`
    DIRECTORY/<task>-predict.jsonl-00000-of-00001.COMPLETED

Byte for byte what `seqio.JSONLogger` (seqio 0.0.20) and T5X's `infer` write, without TensorFlow.

Source:
  https://github.com/google/seqio/blob/b898b9f9/seqio/loggers.py
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/infer.py
"""

import base64
from collections.abc import Iterable, Mapping
import dataclasses
import json
import math
import os
from typing import Any

from etils import epath
import numpy as np

from nmt5.core.errors import DataError
from nmt5.core.files import write_text

EVALUATION = "inference_eval"
_LONGEST_ARRAY = 32
_SHOWN_AT_EACH_END = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """One example of an evaluation.

    Attributes:
      inputs: the task's features by name: text, or token ids as arrays. Arrays of more than 32
        elements are written as a summary, as SeqIO does.
      target: what the metric compared with.
      output: the text that the model wrote; None leaves the field out.
      prediction: what the metric compared: that text after the task's postprocessor.
      scores: further fields, such as `{"score": -1.2}`.
    """

    inputs: Mapping[str, Any]
    target: Any
    prediction: Any
    output: Any = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)


def metrics_path(directory: os.PathLike | str, *, task: str) -> epath.Path:
    """Returns where `append_metrics` writes."""
    return epath.Path(directory) / EVALUATION / f"{task}-metrics.jsonl"


def append_metrics(
    directory: os.PathLike | str, *, task: str, step: int, metrics: Mapping[str, Any]
) -> epath.Path:
    """Adds one line of scores, `{"step": 20, "accuracy": 50.0}`; the file is never half written.

    Args:
      directory: of the evaluation; T5X's EVAL_OUTPUT_DIR.
      task: name of the SeqIO task.
      step: of the checkpoint.
      metrics: scores by name; numbers or text.

    Returns:
      The file.

    Raises:
      StorageError: it cannot be written.
    """
    path = metrics_path(directory, task=task)
    before = path.read_text() if path.exists() else ""
    write_text(path, before + _line({"step": step, **metrics}))
    return path


def write_scored(
    directory: os.PathLike | str, *, task: str, step: int, examples: Iterable[Scored]
) -> epath.Path:
    """Writes the outputs of one checkpoint, in place of earlier ones.

    Args:
      directory: of the evaluation.
      task: name of the SeqIO task.
      step: of the checkpoint.
      examples: in the order of the task. A target or prediction that JSON cannot hold (a
        postprocessor may give any object) is left out of its line, as SeqIO leaves it out.

    Returns:
      The file.

    Raises:
      StorageError: it cannot be written.
    """
    path = epath.Path(directory) / EVALUATION / f"{task}-{step:06}.jsonl"
    lines = []
    for example in examples:
        line = {"input": example.inputs, "target": example.target}
        if example.output is not None:
            line["output"] = example.output
        line |= {"prediction": example.prediction} | dict(example.scores)
        lines.append(_line({key: value for key, value in line.items() if _has_json(value)}))
    write_text(path, "".join(lines))
    return path


def predictions_path(directory: os.PathLike | str, *, task: str) -> epath.Path:
    """Returns where `write_predictions` writes."""
    return epath.Path(directory) / f"{task}-predict.jsonl-00000-of-00001"


def is_complete(directory: os.PathLike | str, *, task: str) -> bool:
    """Returns whether the predictions on a task are there as a whole."""
    return _mark(predictions_path(directory, task=task)).exists()


def write_predictions(
    directory: os.PathLike | str, *, task: str, rows: Iterable[tuple[Mapping[str, Any], str]]
) -> epath.Path:
    """Writes what T5X's `infer` writes, and the empty file that says it is complete.

    Args:
      directory: T5X's INFER_OUTPUT_DIR.
      task: name of the SeqIO task.
      rows: (features that are shown, text that the model wrote) of each example; T5X shows the
        features whose names end in `_pretokenized`.

    Returns:
      The file.

    Raises:
      StorageError: it cannot be written.
    """
    path = predictions_path(directory, task=task)
    lines = [_line({"inputs": dict(inputs), "prediction": text}) for inputs, text in rows]
    write_text(path, "".join(lines))
    write_text(_mark(path), "")
    return path


def read_metrics(directory: os.PathLike | str, *, task: str) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file, T5X's or nmt5's; none if there is no file.

    Raises:
      DataError: a line is no JSON object with a step; names file and line.
    """
    path = metrics_path(directory, task=task)
    found = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            value = json.loads(line)
            found.append({"step": int(value["step"])} | value)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: no line of scores ({error!r})") from error
    return found


def _mark(path: epath.Path) -> epath.Path:
    return path.parent / f"{path.name}.COMPLETED"


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=_plain) + "\n"


def _has_json(value: Any) -> bool:
    try:
        json.dumps(value, default=_plain)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Returns a JSON-able form of what `json` does not know."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    if isinstance(value, np.generic):
        return float(value) if value.dtype.name == "bfloat16" else value.item()
    if not hasattr(value, "__array__"):
        raise TypeError(f"inference files: {type(value).__name__} cannot be written as JSON")
    array = np.asarray(value)
    dtype = array.dtype
    if dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if math.prod(array.shape) <= _LONGEST_ARRAY:
        return array.tolist()
    flat = array.reshape(-1)
    first, last = (
        str(part.tolist())[1:-1] for part in (flat[:_SHOWN_AT_EACH_END], flat[-_SHOWN_AT_EACH_END:])
    )
    return f"ndarray(shape={array.shape}, dtype={dtype}); summary: {first} ... {last}"
