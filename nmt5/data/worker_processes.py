"""Worker processes of this machine, for the steps of a pipeline that runs in threads.

Python's lock lets threads tokenise on two or three cores at most, and write shards on one, as
ArrayRecord's writer compresses under it. So threads hand their steps to processes and wait. These
begin in a third of a second: they import neither Beam, whose own workers take eight, nor
TensorFlow, and not the user's program.
"""

from collections.abc import Callable, Iterator
import contextlib
import gc
import os
import signal
import threading
import time
from typing import Any

import loky

from nmt5.core.errors import ProcessError

_LOOK_SECONDS = 0.5
_EXECUTORS: dict[str, loky.ProcessPoolExecutor] = {}


@contextlib.contextmanager
def worker_processes(name: str, number: int) -> Iterator[None]:
    """Keeps up to `number` processes, which `call` finds by `name`, while the body runs."""
    executor = loky.ProcessPoolExecutor(number, initializer=_begin, initargs=(os.getpid(),))
    executor.submit(os.getpid)  # all begin with the first call
    _EXECUTORS[name] = executor
    try:
        yield
    except BaseException:
        # It stays under its name, so that threads which still call do not do the work themselves.
        executor.shutdown(kill_workers=True)
        raise
    del _EXECUTORS[name]
    executor.shutdown()


def call(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Returns `function(*args)`, worked out by a process of `name`, or here if there are none.

    Raises:
      ProcessError: the process was killed, or all were ended.
    """
    executor = _EXECUTORS.get(name)
    if executor is None:
        return function(*args)
    try:
        return executor.submit(function, *args).result()
    except loky.process_executor.TerminatedWorkerError as error:
        raise ProcessError(
            "prepare: a worker process was killed, most often for want of memory; take fewer "
            "(PrepareConfig.num_workers) or smaller parts (PrepareConfig.run_bytes, shard_bytes)"
        ) from error
    except loky.process_executor.ShutdownExecutorError as error:
        raise ProcessError("prepare: interrupted") from error


def collect_seldom() -> None:
    """Lets Python look for cycles seldom: in millions of short lists of ids there are none.

    With the looking switched off altogether a preparation took 9.0 instead of 9.7 s.
    """
    gc.set_threshold(100_000, *gc.get_threshold()[1:])


def _begin(parent: int) -> None:
    # An interrupt goes to every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    """Ends this process soon after its parent, which may have been killed: nobody else would."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
