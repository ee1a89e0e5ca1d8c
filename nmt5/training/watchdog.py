"""A thread that speaks up when nothing has happened for too long, and says what likely hangs."""

from collections.abc import Callable
import contextlib
import enum
import faulthandler
import math
import os
import sys
import threading
import time
import traceback
from typing import Self

from nmt5.core.errors import StallError
from nmt5.training.interruption import StopRequest
from nmt5.training.peers import Peers

# The loop looks twice a second whether it is to stop.
_GRACE_SECONDS = 2.0


class Doing(enum.Enum):
    """What the loop is at, and what it means if that does not end."""

    STARTING = "starting: the devices, the text or the checkpoint cannot be reached"
    COMPILING = (
        "compilation: that of a large model takes minutes; TrainConfig.compilation_cache keeps the "
        "result for the next start"
    )
    INPUT = (
        "input starved: the feed has made no batch; its threads below show where it is: slow or "
        "lost storage of DataConfig.store, or too few cores"
    )
    STEP = "the devices have not finished a step: a device or its driver hangs"
    EVALUATING = "held-out evaluation: its text cannot be read, or a device hangs"
    SAVING = "saving: the storage of the run directory is slow or lost"


class Watchdog:
    """Prints every thread's stack and the likely reason when the loop gives no sign of life.

    The loop calls `at` whenever it turns to something, several times a step; if the same thing
    lasts longer than `limit_seconds`, that is a stall. It is told once, and again each time that
    its length has doubled.

    If asked to stop the run, the watchdog first asks the loop to save, which it can if only the
    input is starved, and ends the process if it does not.

    Args:
      limit_seconds: None switches it off.
      stops: whether a stall ends the run.
      stop: the way to ask the loop.
      saved: says what of the run is saved.
      stream: where stacks go.
    """

    def __init__(
        self,
        *,
        limit_seconds: float | None,
        stops: bool,
        stop: StopRequest,
        saved: Callable[[], str],
        stream=None,
    ):
        self._limit = math.inf if limit_seconds is None else limit_seconds
        self._tick = min(self._limit / 8, 30.0)
        self._stops, self._stop, self._saved = stops, stop, saved
        self._stream = stream
        self._closed = threading.Event()
        self._peers = Peers()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._step = 0
        self._stall: str | None = None
        self.at(Doing.STARTING)

    def at(self, doing: Doing, *, step: int | None = None) -> None:
        """Takes a sign of life; costs less than a microsecond."""
        if step is not None:
            self._step = step
        # One assignment, so that the other thread never sees half of it.
        self._last = (doing, time.monotonic())

    def __enter__(self) -> Self:
        """Starts to watch."""
        if self._limit < math.inf:
            self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        """Stops to watch."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def raise_if_stalled(self) -> None:
        """Raises `StallError` if the run was stopped by a stall."""
        if self._stall is not None:
            raise StallError(f"train: {self._stall}")

    def _watch(self) -> None:
        told_at, of = 0.0, self._last
        while not self._closed.wait(self._tick):
            doing, since = last = self._last
            self._stand_in()
            self._publish(doing)
            if last is not of:
                told_at, of = 0.0, last
            lasting = time.monotonic() - since
            if lasting < max(self._limit, 2 * told_at):
                continue
            told_at = lasting
            line = (
                f"no sign of life for {lasting:.3g} s at step {self._step}: {self._reason(doing)}"
            )
            self._tell(line)
            if self._stops:
                self._end(line)

    def _publish(self, doing: Doing) -> None:
        with contextlib.suppress(RuntimeError):  # told by `_reason` when it matters
            self._peers.publish(step=self._step, doing=doing.name.lower())

    def _reason(self, doing: Doing) -> str:
        if doing in (Doing.STEP, Doing.SAVING, Doing.EVALUATING):
            try:
                waiting_for = self._peers.behind(
                    step=self._step,
                    doing=doing.name.lower(),
                    pause=self._closed.wait,
                    each=self._tick,
                )
            except RuntimeError as error:
                return f"process 0, which coordinates the others, does not answer ({error})"
            if waiting_for:
                return f"a collective waits for {waiting_for}"
        return doing.value

    def _tell(self, line: str) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames()
        parts = [f"nmt5 train: {line}\n"]
        for number, frame in frames.items():
            if number != threading.get_ident():
                parts.append(f"  thread '{names.get(number, number)}':\n")
                parts += [f"  {text}" for text in traceback.format_stack(frame)]
        stream = self._stream or sys.stderr
        with contextlib.suppress(OSError, ValueError):  # a closed terminal must not end the watch
            stream.write("".join(parts))
            stream.flush()

    def _end(self, line: str) -> None:
        """Asks the loop to save and stop, for as long as it gives signs of life."""
        self._stall = line
        self._stop.request("watchdog")
        asked = time.monotonic()
        while not self._closed.wait(self._tick):
            self._stand_in()
            doing, since = self._last
            self._publish(doing)
            if time.monotonic() - max(asked, since) > max(self._limit, _GRACE_SECONDS):
                self._tell(f"{line}; the loop does not stop, so the process ends; {self._saved()}")
                os._exit(2)

    def _stand_in(self) -> None:
        """Arms a thread that needs no interpreter, for native code that never lets it go."""
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(
                2 * self._limit + 30.0, exit=self._stops, file=sys.__stderr__
            )
