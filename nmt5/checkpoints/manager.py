"""Native checkpoints: saved in the background, checked at restore, complete or invisible.

A checkpoint is an Orbax directory `checkpoint_<step>` with the items

    state         {"target": parameters, "state": {"step", "skipped_steps", "optimizer": {...}}}
    feed          JSON: where the feed stands
    progress      JSON: what has been drawn so far
    description   JSON: model, vocabulary, mixture (`Description`)

and `checksums.json`. T5X's evaluation reads `state` as it is. The loop of `nmt5.training` writes
through `CheckpointWriter`; everybody else reads parameters through `load_params`.

Orbax is imported where it is used: it takes half a second that `--help` need not pay.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import errno
import json
import logging
import os
import re
from typing import Any

from etils import epath
import jax
import numpy as np

from nmt5.checkpoints.checksums import FILE as CHECKSUMS
from nmt5.checkpoints.checksums import find_damage, has_checksums, write_checksums
from nmt5.core.errors import CheckpointError, ConfigError
from nmt5.core.files import storage_faults
from nmt5.core.pytrees import flatten_paths

FORMAT = 1
STATE, FEED, PROGRESS, DESCRIPTION = "state", "feed", "progress", "description"
SUBDIRECTORY = "checkpoints"

_PREFIX = "checkpoint"
_NAME = re.compile(rf"{_PREFIX}_(\d+)")
_TEMPORARY = re.compile(rf"{_PREFIX}_\d+\.orbax-checkpoint-tmp.*")
_MIN_SLICE_BYTES = 64 << 20
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save, how many to keep, and what to begin from.

    Attributes:
      period_steps: a checkpoint every so many steps, and one at the end.
      keep: how many of the newest checkpoints stay; None keeps all.
      initial_checkpoint: parameters to begin a new run with (run directory, its `checkpoints`, or
        one `checkpoint_<step>`); step and optimizer start anew.
      restart_from: a checkpoint of another run to begin with as if this run had written it, step,
        optimizer and position in the data included.
    """

    period_steps: int = 1000
    keep: int | None = 3
    initial_checkpoint: str | None = None
    restart_from: str | None = None

    def __post_init__(self):
        if self.period_steps < 1:
            raise ConfigError(f"CheckpointConfig.period_steps is {self.period_steps}, expected 1+")
        if self.keep is not None and self.keep < 1:
            raise ConfigError(f"CheckpointConfig.keep is {self.keep}, expected 1 or more, or None")
        if self.initial_checkpoint and self.restart_from:
            raise ConfigError(
                "CheckpointConfig: initial_checkpoint and restart_from are both set; choose "
                "initial_checkpoint for its parameters only, restart_from for everything"
            )


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
    names = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match.group(1)) for match in names if match)


def _at(directory: epath.PathLike, step: int) -> epath.Path:
    return epath.Path(directory).absolute() / f"{_PREFIX}_{step}"


def _read_item(checkpoint: epath.Path, item: str) -> Any:
    """Reads a JSON item without Orbax, whose JsonSave keeps it in a file called `metadata`."""
    try:
        return json.loads((checkpoint / item / "metadata").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint: {checkpoint}: item '{item}': {error}") from error


def read_description(checkpoint: epath.PathLike) -> Description:
    """Reads what a checkpoint says of itself; raises `CheckpointError` if it cannot."""
    checkpoint = epath.Path(checkpoint)
    return Description.from_json(_read_item(checkpoint, DESCRIPTION), where=str(checkpoint))


def read_saved(checkpoint: epath.PathLike) -> SavedRun:
    """Reads everything of one checkpoint but its arrays; raises `CheckpointError` if it cannot."""
    checkpoint = epath.Path(checkpoint)
    return SavedRun(
        directory=checkpoint,
        description=read_description(checkpoint),
        feed=_read_item(checkpoint, FEED),
        progress=_read_item(checkpoint, PROGRESS),
    )


def _is_first_process() -> bool:
    return jax.process_index() == 0


def _agree(value: int) -> int:
    """Returns the first process's value on every process."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int64(value)))


def find_resumable(
    directory: epath.PathLike, *, report: Callable[[str], None] = _log.warning
) -> SavedRun | None:
    """Clears what killed saves left behind and finds the newest undamaged checkpoint.

    Only the run that owns the directory (by its lock) may call this: stale temporaries and saves
    that never got their checksums are removed, and a damaged checkpoint is named and renamed to
    `checkpoint_<step>.damaged`.

    Args:
      directory: the run's `checkpoints` directory, which need not exist.
      report: gets one line for each thing found.

    Returns:
      The checkpoint to resume from, None if there was never a complete one.

    Raises:
      CheckpointError: all checkpoints are damaged.
      StorageError: the directory cannot be read or written.
    """
    directory = epath.Path(directory)
    chosen = -1
    if _is_first_process():
        with storage_faults("clearing checkpoints", directory):
            chosen = _clear_and_choose(directory, report)
    chosen = _agree(chosen)
    if chosen == -2:
        raise CheckpointError(
            f"checkpoints: {directory}: every checkpoint is damaged (see above); restore one from "
            "a copy, or remove the directory to start over"
        )
    return None if chosen < 0 else read_saved(_at(directory, chosen))


def _clear_and_choose(directory: epath.Path, report: Callable[[str], None]) -> int:
    """Returns the step to resume from, -1 if there is none, -2 if all are damaged."""
    if not directory.exists():
        return -1
    for path in directory.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            path.rmtree()
            report(f"removed {path}: a save that was interrupted")
    damaged = False
    for step in reversed(checkpoint_steps(directory)):
        checkpoint = _at(directory, step)
        if not has_checksums(checkpoint):
            checkpoint.rmtree()
            report(f"removed {checkpoint}: a save or removal that was interrupted")
            continue
        damage = find_damage(checkpoint)
        if not damage:
            return step
        damaged = True
        aside = directory / f"{checkpoint.name}.damaged"
        if aside.exists():
            aside.rmtree()
        checkpoint.rename(aside)
        report(
            f"damaged checkpoint {checkpoint}: {_listed(damage)}; set aside as {aside.name}, "
            "the one before is used"
        )
    return -2 if damaged else -1


def _listed(lines: list[str], *, limit: int = 3) -> str:
    more = f" and {len(lines) - limit} more" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + more


def restore_state(checkpoint: epath.PathLike, abstract: Any) -> Any:
    """Restores the `state` item onto the devices that `abstract` names.

    Args:
      checkpoint: a verified `checkpoint_<step>` directory.
      abstract: tree of `jax.ShapeDtypeStruct` with shardings, the one that was saved.

    Returns:
      The tree of arrays.

    Raises:
      CheckpointError: a name or a shape differs.
    """
    import orbax.checkpoint as ocp

    checkpoint = epath.Path(checkpoint)
    _check_shapes(checkpoint, _stored_shapes(checkpoint), abstract)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        return checkpointer.restore(
            checkpoint / STATE, args=ocp.args.StandardRestore(abstract, strict=True)
        )


def _stored_shapes(checkpoint: epath.Path) -> dict[str, Any]:
    """Returns the saved tree with an `ArrayMetadata` (shape, dtype) for each leaf."""
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        metadata = checkpointer.metadata(checkpoint / STATE).item_metadata
    return metadata.tree


def _check_shapes(checkpoint: epath.Path, stored: Any, abstract: Any) -> None:
    """Raises one `CheckpointError` that lists every name and shape that differs."""
    found = {name: tuple(leaf.shape) for name, leaf in flatten_paths(stored).items()}
    wanted = {name: tuple(leaf.shape) for name, leaf in flatten_paths(abstract).items()}
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"{name} is unknown" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{name} has shape {found[name]}, expected {wanted[name]}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    if faults:
        raise CheckpointError(
            f"checkpoint: {checkpoint}: not of this model and optimizer: {_listed(faults, limit=8)}"
        )


# What TensorStore calls a storage fault, and the system's number for it.
_TENSORSTORE_FAULTS = {
    "RESOURCE_EXHAUSTED": errno.ENOSPC,
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "PERMISSION_DENIED": errno.EACCES,
    "Read-only file system": errno.EROFS,
}


@contextlib.contextmanager
def _saving_faults(path: epath.Path) -> Iterator[None]:
    """Turns the storage faults of Orbax and TensorStore into `StorageError`."""
    with storage_faults("saving a checkpoint", path):
        try:
            yield
        except ValueError as error:
            for text, number in _TENSORSTORE_FAULTS.items():
                if text in str(error):
                    raise OSError(number, os.strerror(number)) from error
            raise


class CheckpointWriter:
    """Saves checkpoints of one run in the background and removes old ones.

    `save` returns as soon as the arrays are out of the way of the next step; files, checksums and
    the final name follow in a thread. An error there is raised by the next call.
    """

    def __init__(self, directory: epath.PathLike, *, keep: int | None):
        # Orbax takes no relative path, and this process may change its directory.
        self._directory = epath.Path(directory).absolute()
        self._keep = keep
        self._saving: int | None = None
        self._manager: Any = None

    def _open(self) -> Any:
        """Returns Orbax's manager, made at the first save."""
        import orbax.checkpoint as ocp

        if self._manager is None:
            # Orbax logs a failed save with its traceback, several times, and then raises it too.
            logging.getLogger("absl").setLevel(logging.CRITICAL)
            # Copies of one array on many devices are by default saved in slices, a slice by each
            # device; cutting them compiles a program for every shape (5 s at the first save of a
            # tiny model on 8 devices), so only large arrays are worth it.
            handler = ocp.type_handlers.ArrayHandler(
                min_slice_bytes_for_replica_parallel=_MIN_SLICE_BYTES
            )
            ocp.type_handlers.register_type_handler(jax.Array, handler, override=True)
            with storage_faults("making the checkpoint directory", self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                step_prefix=_PREFIX,
                # Removal is ours: Orbax would remove by names, we by what is verified complete.
                max_to_keep=None,
                async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
            )
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        return self._manager

    def _seal(self) -> None:
        """Adds the checksums; Orbax calls this just before it gives the directory its name."""
        if not _is_first_process():
            return
        name = f"{_PREFIX}_{self._saving}"
        (temporary,) = (
            path
            for path in self._directory.iterdir()
            if path.name == name or path.name.startswith(f"{name}.orbax-checkpoint-tmp")
        )
        write_checksums(temporary)

    def save(self, step: int, state: Any, *, feed: Any, progress: Any, description: Description):
        """Starts saving a checkpoint, after the one before is complete.

        Args:
          step: names the directory.
          state: tree of arrays, `{"target": ..., "state": ...}`.
          feed: JSON-able position of the feed.
          progress: JSON-able counts.
          description: what `load_params` returns beside the parameters.

        Raises:
          StorageError: this or the previous save failed for want of space or permission.
        """
        import orbax.checkpoint as ocp

        self.wait()
        manager = self._open()
        self._saving = step
        with _saving_faults(_at(self._directory, step)):
            manager.save(
                step,
                args=ocp.args.Composite(
                    **{
                        STATE: ocp.args.StandardSave(state),
                        FEED: ocp.args.JsonSave(feed),
                        PROGRESS: ocp.args.JsonSave(progress),
                        DESCRIPTION: ocp.args.JsonSave(description.to_json()),
                    }
                ),
            )

    def wait(self) -> None:
        """Waits until the save that is under way is complete, and removes old checkpoints.

        Raises:
          StorageError: the save failed for want of space or permission.
        """
        if self._saving is None:
            return
        try:
            with _saving_faults(_at(self._directory, self._saving)):
                self._manager.wait_until_finished()
                if _is_first_process():
                    self._remove_old()
        finally:
            self._saving = None

    def _remove_old(self) -> None:
        steps = checkpoint_steps(self._directory)
        for step in steps[: -self._keep] if self._keep else []:
            checkpoint = _at(self._directory, step)
            # Its seal goes first, so that half a removed checkpoint is never taken for a whole.
            (checkpoint / CHECKSUMS).unlink(missing_ok=True)
            checkpoint.rmtree()

    def close(self) -> None:
        """Waits for the last save and stops Orbax's threads."""
        try:
            self.wait()
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None


def is_native(path: os.PathLike | str) -> bool:
    """Returns whether `find_checkpoint` would look at `path`, without reading anything in it."""
    path = epath.Path(path)
    if not path.is_dir():
        return False
    directory = path / SUBDIRECTORY if (path / SUBDIRECTORY).is_dir() else path
    candidates = [path] + [_at(directory, step) for step in checkpoint_steps(directory)]
    return any((candidate / DESCRIPTION).is_dir() for candidate in candidates)


def find_checkpoint(path: os.PathLike | str, *, step: int | None = None) -> epath.Path:
    """Finds one verified checkpoint; changes nothing on disk.

    Args:
      path: a run directory, its `checkpoints` directory, or one `checkpoint_<step>`.
      step: which one; None takes the newest that is complete and undamaged.

    Returns:
      The `checkpoint_<step>` directory.

    Raises:
      CheckpointError: nothing there, no such step, or damaged files; says what was found.
    """
    path = epath.Path(path).absolute()  # Orbax takes no relative one
    if not path.is_dir():
        raise CheckpointError(f"checkpoint: {path} does not exist or is not a directory")
    if match := _NAME.fullmatch(path.name):
        if step is not None and step != int(match.group(1)):
            raise CheckpointError(f"checkpoint: step {step} asked, but the path is {path}")
        return _verified(path)
    directory = path / SUBDIRECTORY if (path / SUBDIRECTORY).is_dir() else path
    steps = checkpoint_steps(directory)
    if not steps:
        names = sorted(child.name for child in directory.iterdir())
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
        raise CheckpointError(
            f"checkpoint: {directory}: expected directories named {_PREFIX}_<step>, found {shown}"
        )
    if step is not None:
        if step not in steps:
            known = ", ".join(map(str, steps))
            raise CheckpointError(f"checkpoint: {directory}: no step {step}; it has {known}")
        return _verified(_at(directory, step))
    problems = []
    for candidate in reversed(steps):
        try:
            return _verified(_at(directory, candidate))
        except CheckpointError as error:
            problems.append(str(error))
            _log.warning("%s; trying the one before", error)
    raise CheckpointError(f"checkpoint: {directory}: no undamaged one: {_listed(problems)}")


def _verified(checkpoint: epath.Path) -> epath.Path:
    if not (checkpoint / DESCRIPTION).is_dir():
        names = ", ".join(sorted(child.name for child in checkpoint.iterdir())) or "nothing"
        raise CheckpointError(
            f"checkpoint: {checkpoint}: not written by nmt5 (no '{DESCRIPTION}'; found {names}); "
            "import it with `nmt5 convert`"
        )
    if damage := find_damage(checkpoint):
        raise CheckpointError(f"damaged checkpoint {checkpoint}: {_listed(damage)}")
    return checkpoint


def load_params(
    path: os.PathLike | str, *, step: int | None = None, shardings: Any = None
) -> tuple[dict[str, Any], Description]:
    """Loads the parameters of a native checkpoint, without its optimizer state.

    Args:
      path: a run directory, its `checkpoints` directory, or one `checkpoint_<step>`.
      step: which one; None takes the newest that is complete and undamaged.
      shardings: tree of shardings, one per parameter; None gives NumPy arrays.

    Returns:
      The nested dictionary of parameters, and the checkpoint's description.

    Raises:
      CheckpointError: missing or damaged, or `shardings` is for other parameters.
    """
    checkpoint = find_checkpoint(path, step=step)
    return read_params(checkpoint, shardings=shardings), read_description(checkpoint)


def read_params(checkpoint: epath.PathLike, *, shardings: Any = None) -> dict[str, Any]:
    """Reads the parameters of a verified `checkpoint_<step>`; see `load_params`."""
    import orbax.checkpoint as ocp

    checkpoint = epath.Path(checkpoint)
    stored = _stored_shapes(checkpoint)["target"]
    if shardings is None:
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
    else:
        if flatten_paths(stored).keys() != flatten_paths(shardings).keys():
            raise CheckpointError(f"checkpoint: {checkpoint}: has the parameters of another model")
        arguments = jax.tree.map(lambda s: ocp.ArrayRestoreArgs(sharding=s), shardings)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(
            checkpoint / STATE,
            args=ocp.args.PyTreeRestore(
                item={"target": jax.tree.map(lambda _: 0, stored)},
                restore_args={"target": arguments},
                partial_restore=True,
            ),
        )
    return restored["target"]
