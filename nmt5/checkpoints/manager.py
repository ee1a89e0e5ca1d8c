"""Native checkpoints of a run: saved in the background, complete or invisible, resumed from.

`CheckpointWriter` and `find_resumable` are for the run that owns the directory; everybody else
reads through `load_params`. The layout is described in `nmt5.checkpoints.native_layout`.

Orbax is imported where it is used: it takes half a second that `--help` need not pay.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import errno
import logging
import os
import re
import threading
from typing import Any

from etils import epath
import jax

from nmt5.checkpoints.checksums import FILE as CHECKSUMS
from nmt5.checkpoints.checksums import find_damage, has_checksums, write_checksums
from nmt5.checkpoints.native_layout import (
    DESCRIPTION,
    FEED,
    PREFIX,
    PROGRESS,
    STATE,
    SUBDIRECTORY,
    Description,
    SavedRun,
    checkpoint_at,
    checkpoint_steps,
    listed,
    read_description,
    read_saved,
)
from nmt5.checkpoints.native_reader import (
    find_checkpoint,
    is_converted,
    is_native,
    load_params,
    read_params,
    restore_state,
)
from nmt5.core.errors import CheckpointError, ConfigError
from nmt5.core.files import storage_faults
from nmt5.partitioning.agreement import from_first

__all__ = [
    "SUBDIRECTORY",
    "CheckpointConfig",
    "CheckpointWriter",
    "Description",
    "SavedRun",
    "checkpoint_steps",
    "complete_steps",
    "find_checkpoint",
    "find_resumable",
    "is_converted",
    "is_native",
    "load_params",
    "read_description",
    "read_params",
    "read_saved",
    "restore_state",
]

_TEMPORARY = re.compile(rf"{PREFIX}_\d+\.orbax-checkpoint-tmp.*")
_DAMAGED = ".damaged"
_MIN_SLICE_BYTES = 64 << 20
# Orbax counts the time of a save by the wall clock and gives it 20 minutes: a clock set ahead, or a
# machine that slept, would fail a save that is well. A century; the watchdog tells of hung storage.
_PATIENCE_SECONDS = 100 * 365 * 24 * 3600
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


def _is_first_process() -> bool:
    return jax.process_index() == 0


def complete_steps(directory: epath.PathLike) -> list[int]:
    """Returns the steps of all checkpoints whose saving came to its end, oldest first."""
    directory = epath.Path(directory)
    return [s for s in checkpoint_steps(directory) if has_checksums(checkpoint_at(directory, s))]


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

    def choose() -> int:
        with storage_faults("clearing checkpoints", directory):
            return _clear_and_choose(directory, report)

    chosen = from_first("choice of the checkpoint", choose)
    if chosen == -2:
        raise CheckpointError(
            f"checkpoints: {directory}: every checkpoint is damaged (see above); restore one from "
            "a copy, or remove the directory to start over"
        )
    return None if chosen < 0 else read_saved(checkpoint_at(directory, chosen))


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
        checkpoint = checkpoint_at(directory, step)
        if not has_checksums(checkpoint):
            checkpoint.rmtree()
            report(f"removed {checkpoint}: a save or removal that was interrupted")
            continue
        damage = find_damage(checkpoint)
        if not damage:
            return step
        damaged = True
        aside = directory / f"{checkpoint.name}{_DAMAGED}"
        if aside.exists():
            aside.rmtree()
        checkpoint.rename(aside)
        report(
            f"damaged checkpoint {checkpoint}: {listed(damage)}; set aside as {aside.name}, "
            "the one before is used"
        )
    # Those that an earlier start set aside count too: beginning anew would lose the run silently.
    return -2 if damaged or any(directory.glob(f"*{_DAMAGED}")) else -1


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
        self._last_thread: threading.Thread | None = None
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
                step_prefix=PREFIX,
                # Removal is ours: Orbax would remove by names, we by what is verified complete.
                max_to_keep=None,
                async_options=ocp.options.AsyncOptions(
                    timeout_secs=_PATIENCE_SECONDS, post_finalization_callback=self._seal
                ),
            )
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        return self._manager

    def _seal(self) -> None:
        """Adds the checksums; Orbax calls this just before it gives the directory its name."""
        if not _is_first_process():
            return
        name = f"{PREFIX}_{self._saving}"
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
        with _saving_faults(checkpoint_at(self._directory, step)):
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
        # Without a thread of this name, a failure is told at the next save.
        named = (t for t in threading.enumerate() if t.name == "save_finalize")
        self._last_thread = next(named, None)

    def wait(self) -> None:
        """Waits until the save that is under way is complete, and removes old checkpoints.

        Raises:
          StorageError: the save failed for want of space or permission.
        """
        if self._saving is None:
            return
        try:
            with _saving_faults(checkpoint_at(self._directory, self._saving)):
                self._manager.wait_until_finished()
                if _is_first_process():
                    self._remove_old()
        finally:
            self._saving = None

    def check(self) -> None:
        """Raises `StorageError` if the save under way has failed already; waits for nothing.

        Orbax says so only to one who waits, so its last thread is looked at first. Several
        processes wait together, at the next save.
        """
        if self._saving is None or self._last_thread is None or jax.process_count() > 1:
            return
        if not self._last_thread.is_alive():
            self.wait()

    def _remove_old(self) -> None:
        steps = checkpoint_steps(self._directory)
        for step in steps[: -self._keep] if self._keep else []:
            checkpoint = checkpoint_at(self._directory, step)
            # Its seal goes first, so that half a removed checkpoint is never taken for a whole.
            (checkpoint / CHECKSUMS).unlink(missing_ok=True)
            checkpoint.rmtree()

    def close(self) -> None:
        """Waits for the last save and stops Orbax's threads."""
        try:
            self.wait()
        finally:
            if self._manager is not None:
                manager, self._manager = self._manager, None
                # It waits once more, and may raise the fault of a save once more.
                with _saving_faults(self._directory):
                    manager.close()
