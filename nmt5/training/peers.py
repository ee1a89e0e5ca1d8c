"""How far the other processes of a run are, told through JAX's coordination service."""

from collections.abc import Callable
import json
from typing import Any

import jax

_KEYS = "nmt5/train/sign_of_life/"


class Peers:
    """Publishes this process's step and reads those of the others; does nothing if it is alone.

    Args:
      client: of the coordination service; None takes JAX's.
      process: this one's index.
      processes: how many there are.
    """

    def __init__(
        self, client: Any = None, *, process: int | None = None, processes: int | None = None
    ):
        self._process = jax.process_index() if process is None else process
        self._processes = jax.process_count() if processes is None else processes
        if client is None and self._processes > 1:
            # JAX has no public name for its key-value store; Orbax reaches it the same way.
            from jax._src import distributed

            client = distributed.global_state.client
        self._client = client
        self._sign = 0

    def publish(self, *, step: int, doing: str) -> None:
        """Tells the others where this process is."""
        if self._client is not None:
            self._sign += 1
            self._client.key_value_set(
                f"{_KEYS}{self._process}",
                json.dumps({"step": step, "doing": doing, "sign": self._sign}),
                allow_overwrite=True,
            )

    def behind(self, *, step: int, doing: str, pause: Callable[[float], Any], each: float) -> str:
        """Says which processes keep this one waiting.

        Looks twice, with four signs of its own in between, as the others look at the same time.

        Args:
          step: this process's.
          doing: what it is at.
          pause: waits for some seconds.
          each: seconds between two signs of a live process.

        Returns:
          A list such as "process 3 (step 41, input), process 5 (no sign)", empty if there is none.
        """
        if self._client is None:
            return ""
        before = self._read()
        for _ in range(4):
            self.publish(step=step, doing=doing)
            pause(each)
        found = []
        for process, sign in self._read().items():
            if process == self._process:
                continue
            if sign is None or sign == before[process]:
                found.append(f"process {process} (no sign)")
            elif sign["step"] < step or sign["doing"] == "input":
                found.append(f"process {process} (step {sign['step']}, {sign['doing']})")
        return ", ".join(found)

    def _read(self) -> dict[int, Any]:
        """Returns the last sign of each process, None for one that never gave any."""
        signs: dict[int, Any] = dict.fromkeys(range(self._processes))
        for key, value in self._client.key_value_dir_get(_KEYS):
            signs[int(key.rsplit("/", 1)[1])] = json.loads(value)
        return signs
