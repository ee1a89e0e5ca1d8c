"""A request to stop: the first is answered by saving, the second at once."""

from collections.abc import Callable
import os
import signal
import threading
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Catches SIGTERM and SIGINT while it is open.

        with StopRequest(say=print) as stop:
            while not stop.requested:
                ...

    Outside the main thread, where Python cannot catch signals, it never asks to stop.

    Args:
      say: gets one line at the first signal.
    """

    def __init__(self, *, say: Callable[[str], None]):
        self._say = say
        self._before: dict[int, object] = {}
        self.requested: str | None = None

    def __enter__(self) -> Self:
        """Starts to catch."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in _SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: object) -> None:
        del frame
        if self.requested is not None:
            # No clean-up: threads may be what hangs. A save under way stays invisible.
            os._exit(128 + number)
        self.requested = signal.Signals(number).name
        self._say(f"{self.requested}: saving a checkpoint, then stopping; once more stops at once")
