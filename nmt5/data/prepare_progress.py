"""How far a preparation is: workers note it in small files, the main process reads and prints it.

Files, not Beam metrics: those arrive when a pipeline has ended, or not at all, depending on the
runner. What is noted here only moves a progress line; no result depends on it.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import os
import pathlib
import threading
import time
from typing import TextIO

_NOTE_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of a running preparation.

    Attributes:
      units_done: source shards that are tokenised.
      units: source shards in all.
      examples: documents and pairs tokenised.
      tokens: ids made of them.
      seconds: since the start.
      finished: whether the shards of the store are written too.
    """

    units_done: int
    units: int
    examples: int
    tokens: int
    seconds: float
    finished: bool = False

    def remaining_seconds(self) -> float | None:
        """Returns an estimate from the source shards done; None before the first."""
        if not self.units_done:
            return None
        return self.seconds * (self.units - self.units_done) / self.units_done

    def __str__(self):
        rate = self.examples / max(self.seconds, 1e-9)
        remaining = self.remaining_seconds()
        left = "" if remaining is None or self.finished else f", {_clock(remaining)} left"
        if self.units_done == self.units and not self.finished:
            left = ", writing the store"
        return (
            f"prepare: {self.units_done}/{self.units} source shards, {self.examples:,} examples, "
            f"{self.tokens:,} tokens, {rate:,.0f} examples/s, {_clock(self.seconds)}{left}"
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class ProgressLine:
    """A callback that prints progress: one line rewritten on a terminal, now and then elsewhere."""

    def __init__(self, stream: TextIO, *, plain_seconds: float = 10.0):
        self._stream = stream
        self._terminal = stream.isatty()
        self._plain_seconds = plain_seconds
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Prints `progress`; the last call always leaves a whole line."""
        end = progress.finished
        if self._terminal:
            self._stream.write(f"\r\x1b[K{progress}" + ("\n" if end else ""))
        elif end or progress.seconds - self._last >= self._plain_seconds:
            self._last = progress.seconds
            self._stream.write(f"{progress}\n")
        self._stream.flush()


class UnitNotes:
    """What one worker notes about the source shard that it is tokenising."""

    def __init__(self, directory: str, unit: int):
        self._path = pathlib.Path(directory) / str(unit)
        self._last = time.monotonic()

    def note(self, *, examples: int, tokens: int, done: bool = False) -> None:
        """Writes the counts so far, at most twice a second."""
        now = time.monotonic()
        if done or now - self._last >= _NOTE_SECONDS:
            self._last = now
            with contextlib.suppress(OSError):  # a full disk shows where results are written
                self._path.write_text(f"{examples} {tokens} {int(done)}")


@contextlib.contextmanager
def watch(directory: str, *, units: int, callback: Callable[[Progress], None], seconds: float = 1):
    """Calls `callback` every `seconds` while the body runs, and once when it has ended well.

    Args:
      directory: where workers keep their `UnitNotes`.
      units: number of source shards in all.
      callback: receives a `Progress`; called from another thread until the body ends.
      seconds: time between calls.
    """
    start = time.monotonic()
    ended = threading.Event()
    finished: dict[str, tuple[int, int]] = {}

    def look(*, ended_well: bool = False) -> Progress:
        counts = dict(finished)
        for entry in os.scandir(directory):
            if entry.name in finished:
                continue
            try:
                examples, tokens, done = map(int, pathlib.Path(entry.path).read_text().split())
            except (OSError, ValueError):  # being written
                continue
            counts[entry.name] = (examples, tokens)
            if done:
                finished[entry.name] = (examples, tokens)
        return Progress(
            units_done=len(finished),
            units=units,
            examples=sum(examples for examples, _ in counts.values()),
            tokens=sum(tokens for _, tokens in counts.values()),
            seconds=time.monotonic() - start,
            finished=ended_well,
        )

    def report():
        while not ended.wait(seconds):
            callback(look())

    thread = threading.Thread(target=report, name="prepare-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    callback(look(ended_well=True))
