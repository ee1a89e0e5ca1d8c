"""A request to stop: the first is answered by saving, the second at once."""

from collections.abc import Callable
import os
import signal
import sys
import threading
from typing import Self

import jax

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _say(line: str) -> None:
    print(f"nmt5 train: {line}", file=sys.stderr, flush=True)


class StopRequest:
    """Catches SIGTERM and SIGINT while it is open, and takes requests of other threads.

        with StopRequest() as stop:
            while not stop.is_due(step):
                ...

    One of several processes must not stop alone, so there a signal is left to JAX's preemption
    service: it tells all processes, and they agree on a step after which `is_due` is true for each
    of them. Outside the main thread, where Python cannot catch signals, it never asks to stop.

    Attributes:
      requested: who asked, None while nobody has.
      say: gets one line at the first request.
    """

    def __init__(self):
        self.requested: str | None = None
        self.say: Callable[[str], None] = _say
        self._before: dict[int, object] = {}
        self._is_alone = jax.process_count() == 1

    def __enter__(self) -> Self:
        """Starts to catch."""
        if threading.current_thread() is threading.main_thread():
            if self._is_alone:
                self._before = {number: signal.signal(number, self._catch) for number in _SIGNALS}
            else:
                # JAX's service hears SIGTERM only, and only while nobody else catches it.
                self._before = {signal.SIGINT: signal.signal(signal.SIGINT, _pass_on)}
        return self

    def __exit__(self, *exception) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_due(self, step: int) -> bool:
        """Returns whether to stop now, the same on every process; each calls it at every step."""
        if self.requested is None and not self._is_alone:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                self.request("SIGTERM")
        return self.requested is not None

    def request(self, who: str) -> None:
        """Asks to stop, from any thread."""
        if self.requested is None:
            self.requested = who
            try:
                self.say(f"{who}: saving a checkpoint, then stopping; once more stops at once")
            except RuntimeError:
                # The signal came in the middle of another line, whose stream cannot be entered.
                os.write(2, f"\nnmt5 train: {who}: saving, then stopping\n".encode())

    def preempted(self) -> None:
        """Takes a notice that this machine will be taken away, from any thread."""
        if self._is_alone:
            self.request("preemption notice")
        else:
            os.kill(os.getpid(), signal.SIGTERM)  # for JAX's service, which tells the others

    def _catch(self, number: int, frame: object) -> None:
        del frame
        if self.requested is not None:
            # No clean-up: threads may be what hangs. A save under way stays invisible.
            os._exit(128 + number)
        self.request(signal.Signals(number).name)


def _pass_on(number: int, frame: object) -> None:
    del number, frame
    os.kill(os.getpid(), signal.SIGTERM)
