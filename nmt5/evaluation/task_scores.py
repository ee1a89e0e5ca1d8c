"""What the evaluation of a checkpoint on a task leaves in a directory, and reading it again.

inference_eval/<task>-metrics.jsonl   scores by step, and
inference_eval/<task>-<step>.jsonl    every example with its output, as T5X's eval does
task_scores.json                      all scores with intervals and signatures; written last
"""

from collections.abc import Iterable, Mapping
import json
import os
from typing import Any

from etils import epath

from nmt5.checkpoints.manager import is_native
from nmt5.core.errors import DataError
from nmt5.core.files import read_json, sha256, write_json
from nmt5.evaluation.benchmarks.scoring import Score
from nmt5.evaluation.inference_files import (
    EVALUATION,
    Scored,
    append_metrics,
    read_metrics,
    write_scored,
)
from nmt5.evaluation.loading import checkpoint_identity

FORMAT = 2
TASK_SCORES = "task_scores.json"
_REMEDY = "evaluate the checkpoint first"


def write_language(
    directory: os.PathLike | str,
    *,
    task: str,
    step: int,
    scores: Mapping[str, Score],
    num_cut: int,
    examples: Iterable[Scored] | None = None,
) -> dict[str, Any]:
    """Writes T5X's files of one language, and returns its entry in `task_scores.json`.

    Args:
      directory: of T5X's files.
      task: name of the SeqIO task.
      step: of the checkpoint.
      scores: by name, the main one first.
      num_cut: inputs that were longer than the limit.
      examples: every example with its output; None writes no such file.

    Raises:
      StorageError: a file cannot be written.
    """
    if examples is not None:
        write_scored(directory, task=task, step=step, examples=examples)
    values = {name: one.interval.value for name, one in scores.items()}
    if {"step": step, **values} not in read_metrics(directory, task=task):
        append_metrics(directory, task=task, step=step, metrics=values)
    return {
        "task": task,
        "main": next(iter(scores)),
        "order": list(scores),
        "cut_inputs": num_cut,
        "scores": {name: one.to_json() for name, one in scores.items()},
    }


def write_task_scores(
    directory: os.PathLike | str,
    *,
    signature: Mapping[str, Any],
    step: int,
    languages: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Writes `task_scores.json` from the entries of `write_language`, and returns its content."""
    result = {"format": FORMAT, "signature": signature, "step": step, "languages": languages}
    write_json(epath.Path(directory) / TASK_SCORES, result)
    return result


def earlier_scores(output: epath.Path, signature: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the scores in a directory if they have this signature."""
    path = output / TASK_SCORES
    if not path.exists():
        return None
    found = read_json(path, what="task scores", remedy="remove it and evaluate again")
    if isinstance(found, dict) and found.get("format") == FORMAT:
        return found if found.get("signature") == signature else None
    return None


def read_outputs(directory: os.PathLike | str, task: str) -> list[str]:
    """Returns the outputs on a SeqIO task that an evaluation has written.

    Raises:
      DataError: it has not, or another version of nmt5 has.
      StorageError: the directory has no scores.
    """
    path = epath.Path(directory) / TASK_SCORES
    scores = read_json(path, what="task scores", remedy=_REMEDY)
    if scores.get("format") != FORMAT:
        raise DataError(f"{path}: format {scores.get('format')}, expected {FORMAT}; {_REMEDY}")
    path = epath.Path(directory) / EVALUATION / f"{task}-{scores['step']:06}.jsonl"
    if not path.exists():
        raise DataError(f"{path} does not exist; {_REMEDY}")
    return [json.loads(line)["output"] for line in path.read_text().splitlines()]


def checkpoint_files(checkpoint: os.PathLike | str) -> str:
    """Returns what tells the files of a checkpoint, of any format, from those of another."""
    if is_native(checkpoint):
        return checkpoint_identity(checkpoint)[1]
    # A public checkpoint has no list of checksums; names, sizes and times must do.
    root = epath.Path(checkpoint)
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    stats = [(os.fspath(path), path.stat()) for path in files if not path.is_dir()]
    return sha256(repr([(name, one.length, one.mtime) for name, one in stats]).encode())


def score_table(result: Mapping[str, Any]) -> str:
    """Returns the scores of a task as lines of text, one per language; shares with their counts."""
    names = next(iter(result["languages"].values()))["order"]
    rows = {
        language: [_cell(found["scores"][name]) for name in names]
        for language, found in result["languages"].items()
    }
    width = max(12, *map(len, names), *(len(cell) for row in rows.values() for cell in row))
    lines = [f"{'':14}" + " ".join(f"{name:>{width}}" for name in names) + "   95% of the first"]
    for language, found in result["languages"].items():
        first = found["scores"][names[0]]
        ends = "" if first["low"] is None else f"   {first['low']:.1f} to {first['high']:.1f}"
        cells = " ".join(f"{cell:>{width}}" for cell in rows[language])
        cut = f"   {found['cut_inputs']} inputs cut" if found["cut_inputs"] else ""
        lines.append(f"{language:14}{cells}{ends}{cut}")
    return "\n".join(lines)


def _cell(score: Mapping[str, Any]) -> str:
    """Returns `25.00`, or of a share of the examples `25.00 (1/4)`."""
    count = f" ({score['count']}/{score['num_examples']})" if "count" in score else ""
    return f"{score['value']:.2f}{count}"
