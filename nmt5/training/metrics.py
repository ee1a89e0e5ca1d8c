"""Where numbers go: one JSON object per line, and TensorBoard events."""

from collections.abc import Mapping
import json
import math
import os
import time
from typing import Any, Protocol

from etils import epath

from nmt5.core.files import storage_faults, write_text

FILE = "metrics.jsonl"
_FLUSH_SECONDS = 10.0


class MetricWriter(Protocol):
    """Something that takes named numbers of one step."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values; may keep them until `close`."""

    def close(self) -> None:
        """Writes what was kept."""


class JsonLinesWriter:
    """Appends `{"step": 100, "seconds": 12.3, "train/loss": 5.1, ...}` to a file.

    A run that resumes at step n first drops the lines of later steps and half-written ones, so the
    file reads as if the run had never stopped. Values that are not finite become null.

    Args:
      path: the file, made if it is missing.
      resumed_at: lines of later steps are dropped.

    Raises:
      StorageError: the file cannot be read or written.
    """

    def __init__(self, path: epath.PathLike, *, resumed_at: int):
        path = epath.Path(path)
        kept = [line for line in read_metrics(path) if line["step"] <= resumed_at]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path = path
        # A buffered line is flushed at once: a killed process loses none that was written.
        with storage_faults("opening the metrics", path):
            self._file = path.open("a")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line; raises `StorageError` when the disk is full."""
        clean = {name: v if math.isfinite(v) else None for name, v in values.items()}
        line = {"step": step, "unix_seconds": round(time.time(), 3)} | clean
        with storage_faults("writing metrics", self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        with storage_faults("writing metrics", self._path):
            self._file.close()


def read_metrics(path: os.PathLike | str) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file in order; none if it is missing.

    A line that is not a complete JSON object with a step is passed over: the last one may be half
    written.
    """
    path = epath.Path(path)
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


class TensorBoardWriter:
    """Writes scalars for TensorBoard, and hides those of steps that a resumed run makes again.

    Events are written by the caller's thread: the thread of tensorboardX's own `SummaryWriter`
    dies of a full disk, and whoever writes then waits for it for ever.

    Args:
      directory: for event files, made at the first write.
      resumed_at: events of later steps are hidden.
    """

    def __init__(self, directory: epath.PathLike, *, resumed_at: int):
        self._directory = epath.Path(directory)
        self._resumed_at = resumed_at
        self._file: Any = None
        self._flushed_at = time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the values as one event; raises `StorageError` when the disk is full."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        with storage_faults("writing TensorBoard events", self._directory):
            if self._file is None:
                self._file = self._open()
            scalars = [Summary.Value(tag=name, simple_value=v) for name, v in values.items()]
            summary = Summary(value=scalars)
            self._file.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
                self._file.flush()
                self._flushed_at = time.monotonic()

    def _open(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._directory.mkdir(parents=True, exist_ok=True)
        # The name has the time in seconds, which two starts may share when a clock is set back.
        suffix = f".{self._resumed_at}.{os.getpid()}"
        file = EventsWriter(os.fspath(self._directory / "events"), filename_suffix=suffix)
        start = SessionLog(status=SessionLog.START)
        file.write_event(Event(wall_time=time.time(), step=self._resumed_at + 1, session_log=start))
        return file

    def close(self) -> None:
        """Flushes the events."""
        if self._file is not None:
            with storage_faults("writing TensorBoard events", self._directory):
                self._file.close()
