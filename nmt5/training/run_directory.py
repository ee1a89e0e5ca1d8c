"""One run, one directory: the lock, the settings, the record of starts."""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import socket
import time
from typing import Any
import uuid

from etils import epath

from nmt5.core.errors import StorageError
from nmt5.core.files import read_json, storage_faults, write_json, write_text
from nmt5.partitioning.agreement import from_first, together
from nmt5.partitioning.processes import group

LOCK, RUN, SETTINGS = ".lock", "run.json", "settings.txt"
_SEEN = ".seen-by-all"


@contextlib.contextmanager
def run_lock(directory: os.PathLike | str) -> Iterator[None]:
    """Makes the directory and holds it for this process.

    The operating system drops the lock when its process ends, however it ends, so a lock file that
    is left behind does no harm. Directories in a bucket (`gs://...`) have no lock.

    Args:
      directory: the run directory.

    Raises:
      StorageError: another process holds it (says which), or it cannot be written.
    """
    if "://" in os.fspath(directory):
        yield
        return
    # Absent on Windows, where nothing else of nmt5 is tried either.
    import fcntl

    path = pathlib.Path(directory) / LOCK
    with storage_faults("making the run directory", directory):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        try:
            with storage_faults("locking the run directory", directory):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown process"
            raise StorageError(
                f"run directory {directory} is in use by {holder}; wait for it, stop it, or choose "
                "another directory"
            ) from error
        file.truncate(0)
        with storage_faults("locking the run directory", directory):
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


@contextlib.contextmanager
def run_lock_of_all(directory: os.PathLike | str) -> Iterator[None]:
    """Holds the run directory for all processes of a run: process 0 has the lock.

    Args:
      directory: the run directory.

    Raises:
      StorageError: as `run_lock`, in every process; or a process sees another directory than
        process 0 does.
    """
    with contextlib.ExitStack() as stack:
        path = epath.Path(directory) / _SEEN

        def lock() -> str:
            stack.enter_context(run_lock(directory))
            if group().count == 1:
                return ""
            mark = uuid.uuid4().hex
            write_text(path, mark)
            return mark

        mark = from_first("lock of the run directory", lock)
        if mark:
            with together("run directory"):
                _require_mark(path, mark)
            if group().is_first:
                path.unlink(missing_ok=True)
        yield


def _require_mark(path: epath.Path, mark: str) -> None:
    """Raises `StorageError` unless the file is there; network storage may take some seconds."""
    for _ in range(20):
        if path.exists() and path.read_text() == mark:
            return
        time.sleep(0.5)
    raise StorageError(
        f"run directory {path.parent}: on {socket.gethostname()} it is not the directory that "
        "process 0 has; put it on storage that all machines share, a network file system or "
        "gs://..."
    )


def plain(value: Any) -> Any:
    """Returns a setting as JSON knows it: dataclasses and mappings as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def settings_text(configs: Mapping[str, Any]) -> str:
    """Returns all settings, one `Name.field: value` per line in sorted order.

    >>> print(settings_text({"Model": {"width": 8, "activations": ("gelu", "linear")}}), end="")
    Model.activations: ["gelu", "linear"]
    Model.width: 8

    Args:
      configs: `{name: dataclass or mapping}`.
    """
    lines = [
        f"{name}.{field}: {json.dumps(value, sort_keys=True)}"
        for name, config in configs.items()
        for field, value in plain(config).items()
    ]
    return "".join(f"{line}\n" for line in sorted(lines))


def write_settings(directory: os.PathLike | str, configs: Mapping[str, Any]) -> None:
    """Writes `settings.txt`; raises `StorageError`."""
    write_text(epath.Path(directory) / SETTINGS, settings_text(configs))


def record_start(directory: os.PathLike | str, start: Mapping[str, Any]) -> None:
    """Adds one start (what it began from, where it ran) to `run.json`.

    Args:
      directory: the run directory.
      start: JSON-able facts.

    Raises:
      StorageError: the file cannot be read or written.
    """
    path = epath.Path(directory) / RUN
    starts = []
    if path.exists():
        starts = read_json(path, what="record of the run", remedy="remove it")["starts"]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(path, {"format": 1, "starts": [*starts, {"time": now} | dict(start)]})
