"""The native checkpoint on disk: names, items, and what it says of itself.

A checkpoint is an Orbax directory `checkpoint_<step>` with the items

    state         {"target": parameters, "state": {"step", "skipped_steps", "optimizer": {...}}}
    feed          JSON: where the feed stands
    progress      JSON: what has been drawn so far
    description   JSON: model, vocabulary, mixture (`Description`)

and `checksums.json`. T5X's evaluation reads `state` as it is. Nothing here needs Orbax.
"""

from collections.abc import Mapping
import dataclasses
import json
import re
from typing import Any

from etils import epath

from nmt5.core.errors import CheckpointError

FORMAT = 1
STATE, FEED, PROGRESS, DESCRIPTION = "state", "feed", "progress", "description"
SUBDIRECTORY = "checkpoints"
PREFIX = "checkpoint"
NAME = re.compile(rf"{PREFIX}_(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What a reader must know of a checkpoint before it looks at an array.

    Attributes:
      step: training step, counted from the start of its run.
      model: `ModelConfig.to_dict()`.
      vocabulary_fingerprint: SHA-256 of the vocabulary's model file.
      vocabulary_size: number of ids, sentinels included.
      mixture: name of the training mixture.
      run: settings that a continued run must share with the one that wrote this.
    """

    step: int
    model: Mapping[str, Any]
    vocabulary_fingerprint: str
    vocabulary_size: int
    mixture: str
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON-able form."""
        return {"format": FORMAT} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str) -> "Description":
        """Returns the description that `to_json` gave; raises `CheckpointError` if it is none."""
        try:
            if value["format"] != FORMAT:
                raise CheckpointError(
                    f"checkpoint: {where}: format {value['format']}, expected {FORMAT}; it was "
                    "written by another version of nmt5"
                )
            return cls(**{field.name: value[field.name] for field in dataclasses.fields(cls)})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"checkpoint: {where}: no description ({error!r})") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedRun:
    """The JSON items of one verified checkpoint."""

    directory: epath.Path
    description: Description
    feed: Any
    progress: Any


def checkpoint_steps(directory: epath.PathLike) -> list[int]:
    """Returns the steps of all `checkpoint_<step>` directories in `directory`, oldest first."""
    directory = epath.Path(directory)
    if not directory.exists():
        return []
    names = (NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match.group(1)) for match in names if match)


def checkpoint_at(directory: epath.PathLike, step: int) -> epath.Path:
    """Returns the path of one checkpoint."""
    return epath.Path(directory).absolute() / f"{PREFIX}_{step}"


def read_item(checkpoint: epath.Path, item: str) -> Any:
    """Reads a JSON item without Orbax, whose JsonSave keeps it in a file called `metadata`."""
    try:
        return json.loads((checkpoint / item / "metadata").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint: {checkpoint}: item '{item}': {error}") from error


def read_description(checkpoint: epath.PathLike) -> Description:
    """Reads what a checkpoint says of itself; raises `CheckpointError` if it cannot."""
    checkpoint = epath.Path(checkpoint)
    return Description.from_json(read_item(checkpoint, DESCRIPTION), where=str(checkpoint))


def read_saved(checkpoint: epath.PathLike) -> SavedRun:
    """Reads everything of one checkpoint but its arrays; raises `CheckpointError` if it cannot."""
    checkpoint = epath.Path(checkpoint)
    return SavedRun(
        directory=checkpoint,
        description=read_description(checkpoint),
        feed=read_item(checkpoint, FEED),
        progress=read_item(checkpoint, PROGRESS),
    )


def listed(lines: list[str], *, limit: int = 3) -> str:
    """Returns the first few of some findings as one line, and how many more there are."""
    more = f" and {len(lines) - limit} more" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + more
