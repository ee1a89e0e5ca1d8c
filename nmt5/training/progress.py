"""How far a run is: a bar that redraws itself on a terminal, plain lines elsewhere."""

from collections.abc import Callable
import shutil
import sys
import time
from typing import TextIO

_WIDTH = 24


def duration(seconds: float) -> str:
    """Returns a length of time in its two largest units.

    >>> [duration(s) for s in (4.2, 75, 3 * 3600 + 120, 200_000)]
    ['4s', '1m15s', '3h02m', '2d07h']
    """
    whole = round(max(seconds, 0))
    for unit, name, part, part_name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // part:02d}{part_name}"
    return f"{whole}s"


class Progress:
    """Shows steps, remaining time and a few numbers.

    The remaining time comes from the steps since `begin`, so compilation does not count.

    Args:
      total: last step.
      start: step at which this process begins.
      stream: where to write; a terminal gets a bar, anything else a line per log.
      clock: seconds, for tests.
    """

    def __init__(
        self,
        *,
        total: int,
        start: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._start = total, start
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._began = clock()
        self._drawn = False
        self._drawn_at = -1.0
        self._text = ""

    def begin(self) -> None:
        """Starts the clock of the remaining time, when the first step is done."""
        self._began = self._clock()
        self._start += 1

    def say(self, line: str) -> None:
        """Writes a line of its own, above the bar."""
        self._clear()
        self._stream.write(line + "\n")
        self._stream.flush()

    def update(self, step: int) -> None:
        """Redraws the bar, at most ten times a second; does nothing off a terminal."""
        now = self._clock()
        if self._is_terminal and (now - self._drawn_at >= 0.1 or step == self._total):
            self._drawn_at = now
            self._draw(step)

    def log(self, step: int, text: str) -> None:
        """Takes new numbers; off a terminal this writes one line."""
        self._text = text
        if self._is_terminal:
            self._draw(step)
        else:
            self._stream.write(f"step {step}/{self._total}  {self._remaining(step)}  {text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Ends the bar's line."""
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = False

    def _remaining(self, step: int) -> str:
        done = step - self._start
        if step >= self._total:
            return f"took {duration(self._clock() - self._began)}"
        if done <= 0:
            return "starting"
        left = (self._clock() - self._began) / done * (self._total - step)
        return f"{duration(left)} left"

    def _draw(self, step: int) -> None:
        filled = round(_WIDTH * step / max(self._total, 1))
        bar = "█" * filled + "·" * (_WIDTH - filled)
        line = f"{bar} {step}/{self._total}  {self._remaining(step)}  {self._text}"
        columns = shutil.get_terminal_size().columns
        self._stream.write("\r\x1b[K" + line[: columns - 1])
        self._stream.flush()
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False
