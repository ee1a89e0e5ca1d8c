"""What a run left in its directory, as the report reads it. Whatever is missing is left out.

metrics.jsonl    {"step": 100, "train/<objective>/loss": 5.1, "heldout/<objective>/loss": 5.3,
                  "heldout/<objective>/<language>/loss": ..., ...} per line; the parts of a name
                 behind the first may stand in any order
sampled.json     {"tasks": {task: {"examples", "encoder_tokens", "target_tokens"}}}
run.json         {"starts": [{"time", ...}]}
settings.txt     one `Config.field: value` per line
scores.json      of `nmt5 evaluate`
"""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any

from etils import epath

from nmt5.core.errors import DataError, StorageError
from nmt5.core.files import read_json
from nmt5.data.mixture import Mixture, read_mixture

ALL = "all"
Curve = list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
      name: what the report calls it.
      directory: where it lies.
      metrics: the lines of `metrics.jsonl` in order.
      sampled: per task how much was drawn: examples, encoder tokens, target tokens.
      num_truncated: examples that were cut to the lengths of the rows.
      mixture: what was asked for, None if it is not there.
      starts: each time the run was started.
      settings: the text of `settings.txt`.
      scores: the content of `scores.json`, None if it was not evaluated.
    """

    name: str
    directory: str
    metrics: tuple[Mapping[str, Any], ...] = ()
    sampled: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    num_truncated: int = 0
    mixture: Mixture | None = None
    starts: tuple[Mapping[str, Any], ...] = ()
    settings: str = ""
    scores: Mapping[str, Any] | None = None

    def train_losses(self) -> dict[str, Curve]:
        """Returns the training loss over steps of each objective ("all" for the whole batch)."""
        return {" ".join(key) or ALL: curve for key, curve in self._losses("train").items()}

    def heldout_losses(self) -> dict[str, Curve]:
        """Returns the held-out loss of each objective, and of "objective language"."""
        return {" ".join(key) or ALL: curve for key, curve in self._losses("heldout").items()}

    def last(self, name: str) -> float | None:
        """Returns the last value of a metric, None if there is none."""
        values = [line[name] for line in self.metrics if line.get(name) is not None]
        return float(values[-1]) if values else None

    @property
    def num_steps(self) -> int:
        """The last step that metrics tell of."""
        return max((int(line["step"]) for line in self.metrics), default=0)

    @property
    def seconds_of_steps(self) -> float | None:
        """Time spent in steps, without compilation, evaluation and pauses; None if not logged."""
        total, before = 0.0, int(self.starts[0].get("step", 0)) if self.starts else 0
        for line in self.metrics:
            if speed := line.get("speed/steps_per_second"):
                total += (line["step"] - before) / speed
                before = line["step"]
        return total or None

    def _losses(self, wanted: str) -> dict[tuple[str, ...], Curve]:
        curves: dict[tuple[str, ...], Curve] = {}
        for line in self.metrics:
            for name, value in line.items():
                first, *rest = name.split("/")
                if first != wanted or "loss" not in rest or value is None:
                    continue
                key = tuple(part for part in rest if part != "loss")
                curves.setdefault(key, []).append((float(line["step"]), float(value)))
        return curves


def read_run(directory: os.PathLike | str, *, name: str) -> RunRecord:
    """Reads a run directory.

    Args:
      directory: where training and evaluation wrote.
      name: what to call the run.

    Raises:
      StorageError: no directory, or a file is not what it should be.
      DataError: the directory holds nothing of a run.
    """
    path = epath.Path(directory)
    if not path.is_dir():
        raise StorageError(f"report: run '{name}': {path} is not a directory; train it first")
    sampled = _optional(path / "sampled.json", "record of what was sampled") or {}
    mixture = path / "mixture.json"
    run = _optional(path / "run.json", "record of starts") or {}
    record = RunRecord(
        name=name,
        directory=os.fspath(directory),
        metrics=tuple(_read_lines(path / "metrics.jsonl")),
        sampled={row["task"]: row for row in sampled.get("tasks", ())},
        num_truncated=int(sampled.get("truncated", 0)),
        mixture=read_mixture(mixture) if mixture.exists() else None,
        starts=tuple(run.get("starts", ())),
        settings=(path / "settings.txt").read_text() if (path / "settings.txt").exists() else "",
        scores=_optional(path / "scores.json", "scores"),
    )
    if not record.metrics and record.scores is None:
        raise DataError(
            f"report: run '{name}': {path} holds neither metrics.jsonl nor scores.json; give the "
            "directory of a run, train or evaluate it first"
        )
    return record


def _optional(path: epath.Path, what: str) -> Any:
    if not path.exists():
        return None
    return read_json(path, what=what, remedy="remove it and run the command that wrote it again")


def _read_lines(path: epath.Path) -> list[dict[str, Any]]:
    """Returns complete lines; the last one of a running or killed run may be half written."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
