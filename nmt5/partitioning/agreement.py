"""What the processes of a run say to each other: through the coordination service, by name.

Nothing here uses the devices, so a process that waits can be told what it waits for. Every
function does nothing, or the obvious, in a run of a single process. All processes must call the
same functions with the same names in the same order; each use of a name is numbered.
"""

from collections.abc import Callable, Iterator
import contextlib
import itertools
import json
import time
from typing import Any

import jax

from nmt5.core import errors
from nmt5.core.errors import ProcessError, UserError
from nmt5.partitioning.processes import group

_PREFIX = "nmt5"
_uses: dict[str, Iterator[int]] = {}
# How much of a wait is spent in one call, so that SIGINT is answered.
_SLICE_MS = 1000


def client() -> Any:
    """Returns JAX's client of the coordination service; there is no public way to it."""
    from jax._src import distributed

    found = distributed.global_state.client
    if found is None:
        raise ProcessError(
            f"{jax.process_count()} processes without a coordination service; start the run "
            "through `nmt5 train` or nmt5.partitioning.processes"
        )
    return found


def try_get(key: str) -> str | None:
    """Returns the value of a key, None if it has none yet."""
    try:
        return client().key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def wait_for_all(name: str) -> None:
    """Waits until every process is here.

    Raises:
      ProcessError: some are not, within the time limit; the message has their numbers.
    """
    collected = gather(name, None)
    from_first(name, collected.all)


class Gathered:
    """Values that every process gave under one name; process 0 can have them."""

    def __init__(self, name: str, key: str, own: Any):
        self._name, self._key, self._own = name, key, own

    def all(self) -> list[Any]:
        """Returns the values by number of their process; only process 0 may ask.

        Raises:
          ProcessError: a process did not come within the time limit.
        """
        if group().count == 1:
            return [self._own]
        deadline = time.monotonic() + group().config.barrier_seconds
        values = [self._own]
        for index in range(1, group().count):
            text = _wait(f"{self._key}/{index}", deadline)
            if text is None:
                raise self._missing()
            values.append(json.loads(text))
        client().key_value_delete(f"{self._key}/")
        return values

    def faults(self) -> list[tuple[int, Any]]:
        """Returns (number, value) of the processes whose value is not empty; as `all`."""
        return [(index, value) for index, value in enumerate(self.all()) if value]

    def _missing(self) -> ProcessError:
        found = client().key_value_dir_get(self._key)
        here = {0} | {int(key.rsplit("/", 1)[1]) for key, _ in found}
        missing = [str(member) for member in group().members if member.index not in here]
        return ProcessError(
            f"processes: '{self._name}': {', '.join(missing[:10])}"
            f"{' ...' if missing[10:] else ''} did not come within "
            f"{group().config.barrier_seconds} s; look at what they wait for (their own output), "
            "or raise ProcessConfig.barrier_seconds"
        )


def gather(name: str, value: Any) -> Gathered:
    """Gives a value to process 0; returns at once.

    Args:
      name: what for; appears in the message when a process is missing.
      value: JSON-able.
    """
    key = _key(name)
    if not group().is_first:
        client().key_value_set(f"{key}/{group().index}", json.dumps(value))
    return Gathered(name, key, value)


def from_first(name: str, make: Callable[[], Any]) -> Any:
    """Returns what `make` returned in process 0, in every process.

    Args:
      name: what for.
      make: called in process 0 only; returns a JSON-able value.

    Raises:
      UserError: `make` raised one; every process gets it.
      ProcessError: process 0 did not answer within the time limit.
    """
    if group().count == 1:
        return make()
    key = _key(name)
    if group().is_first:
        try:
            value = make()
        except UserError as error:
            client().key_value_set(key, json.dumps({"error": _written(error)}))
            raise
        client().key_value_set(key, json.dumps({"value": value}))
        return value
    text = _wait(key, time.monotonic() + group().config.barrier_seconds)
    if text is None:
        raise ProcessError(
            f"processes: {group().members[0]} did not finish '{name}' within "
            f"{group().config.barrier_seconds} s"
        )
    answer = json.loads(text)
    if "error" in answer:
        raise _read(answer["error"])
    return answer["value"]


@contextlib.contextmanager
def together(name: str) -> Iterator[None]:
    """Makes a `UserError` of one process everybody's: the body succeeds in all or in none.

    The body must not wait for another process in any other way than through this module.

    Raises:
      UserError: the first process's that has one, with its number if it is another process.
    """
    own: UserError | None = None
    try:
        yield
    except UserError as error:
        own = error
    reports = from_first(name, gather(name, None if own is None else _written(own)).faults)
    if own is not None:
        raise own
    for index, report in reports:
        raise _read(report | {"message": f"process {index}: {report['message']}"})


def require_same(name: str, text: str, *, remedy: str) -> None:
    """Checks that all processes have the same lines of text, settings for instance.

    Raises:
      ConfigError: in every process, naming processes and lines that differ from process 0's.
    """
    first = from_first(f"{name} of process 0", lambda: text)
    faults = [] if text == first else _differences(first, text)
    differing = from_first(name, gather(name, faults).faults)
    if differing:
        shown = "; ".join(f"process {index}: {', '.join(lines)}" for index, lines in differing[:4])
        more = f"; and {len(differing) - 4} more processes" if len(differing) > 4 else ""
        raise errors.ConfigError(
            f"processes: {name} differ from those of process 0: {shown}{more}; {remedy}"
        )


def _differences(expected: str, found: str, *, limit: int = 5) -> list[str]:
    wanted, have = expected.splitlines(), found.splitlines()
    missing = [line for line in wanted if line not in set(have)]
    extra = [line for line in have if line not in set(wanted)]
    pairs = itertools.zip_longest(extra[:limit], missing[:limit])
    lines = [f"'{mine}' (process 0: '{theirs}')" for mine, theirs in pairs]
    more = max(len(extra), len(missing)) - limit
    return lines + ([f"and {more} more"] if more > 0 else []) or ["the order of lines"]


def _key(name: str) -> str:
    number = next(_uses.setdefault(name, itertools.count()))
    return f"{_PREFIX}/{name.replace(' ', '_').replace('/', '_')}/{number}"


def _wait(key: str, deadline: float) -> str | None:
    while True:
        left = int((deadline - time.monotonic()) * 1000)
        try:
            return client().blocking_key_value_get(key, min(max(left, 1), _SLICE_MS))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
            if left <= 0:
                return None


def _written(error: UserError) -> dict[str, str]:
    return {"kind": type(error).__name__, "message": str(error)}


def _read(report: dict[str, str]) -> UserError:
    kind = getattr(errors, report["kind"], UserError)
    return kind(report["message"])
