"""When one process of a run ends, the others end too: within the time limit, saying why.

A collective waits for ever for a process that is gone (NCCL, TPU) or breaks with a message about
sockets (Gloo). So a thread in every process gives signs of life to the coordination service;
process 0 looks who has none, or who reports an error, and publishes a verdict that ends them all.

    exit code 75   a process was lost; starting all of them again goes on from the last checkpoint
    exit code 2    a process ended with an error that the user can mend, shown by all
    exit code 1    a process ended with a defect, whose traceback is in its own output

When process 0 is lost, so is the service, and JAX's client aborts the interpreter at once (jax
0.10.2: nothing can be asked to do otherwise). A handler of SIGABRT then says what happened and
ends with code 75, behind JAX's own lines.
"""

from collections.abc import Callable
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, Self

import jax

from nmt5.core.errors import UserError
from nmt5.partitioning.agreement import client, try_get
from nmt5.partitioning.processes import Group
from nmt5.partitioning.roll_call import split_address

LOST, MENDABLE, DEFECT = 75, 2, 1

_POLL_SECONDS = 1.0
_ALIVE, _FAILED, _VERDICT = "nmt5/alive", "nmt5/failed", "nmt5/verdict"
_AGAIN = "all processes end; started again, the run goes on from its last checkpoint"


class Watch:
    """Gives signs of life, and ends this process when another one has ended.

        with Watch(group, say=print):
            train()

    An exception that leaves the body ends all processes. If it may be the consequence of another
    process's end (any that is no `UserError`), the verdict is waited for first.

    Args:
      group: the processes.
      say: gets the verdict.
    """

    def __init__(self, group: Group, *, say: Callable[[str], None]):
        self._group, self._say = group, say
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)
        self._beats = 0
        self._heard: dict[str, tuple[str, float]] = {}
        self._failed_at: float | None = None
        self._handler: Any = None
        self._trace = ""

    def __enter__(self) -> Self:
        """Starts to watch."""
        self._catch_abort()
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Stops to watch, or tells the others of the error and ends this process with them."""
        if error is None:
            self._closed.set()
            self._thread.join()
            return
        is_users = isinstance(error, UserError)
        report = {"kind": "user" if is_users else "defect", "message": str(error) or kind.__name__}
        if not is_users:
            report["message"] = f"{kind.__name__}: {report['message']}"
            # Shown unless the loss of another process turns out to be the reason.
            self._trace = "".join(traceback.format_exception(kind, error, trace))
        try:
            client().key_value_set(f"{_FAILED}/{self._group.index}", json.dumps(report))
        except jax.errors.JaxRuntimeError:
            self._end(f"{self._group.members[0]} does not answer; {_AGAIN}", LOST)
        # The watching thread ends this process when the verdict is there.
        self._thread.join(timeout=2 * self._group.config.lost_seconds)
        self._end(report["message"], MENDABLE if is_users else DEFECT)

    def _work(self) -> None:
        while not self._closed.wait(_POLL_SECONDS):
            try:
                self._turn()
            except jax.errors.JaxRuntimeError as error:
                if not self._closed.is_set():
                    why = str(error).splitlines()[0]
                    self._end(f"{self._group.members[0]} does not answer ({why}); {_AGAIN}", LOST)

    def _turn(self) -> None:
        own = f"{_ALIVE}/{self._group.index}"
        self._beats += 1
        client().key_value_set(own, str(self._beats), allow_overwrite=True)
        verdict = self._judge() if self._group.is_first else try_get(_VERDICT)
        if verdict is not None:
            if self._group.is_first:
                client().key_value_set(_VERDICT, verdict)
                # The service ends with this process: the others must have read it.
                time.sleep(3 * _POLL_SECONDS)
            found = json.loads(verdict)
            self._end(found["message"], found["code"])

    def _judge(self) -> str | None:
        """Process 0: returns the verdict as JSON, None while all is well."""
        now, limit = time.monotonic(), self._group.config.lost_seconds
        for key, beat in client().key_value_dir_get(_ALIVE):
            if self._heard.get(key, ("", now))[0] != beat:
                self._heard[key] = (beat, now)
        lost = [
            member
            for member in self._group.members
            if now - self._heard.setdefault(f"{_ALIVE}/{member.index}", ("", now))[1] > limit
        ]
        if lost:
            shown = ", ".join(map(str, lost[:5])) + (" ..." if lost[5:] else "")
            return _verdict(
                f"lost {shown}: no sign of life for {limit} s; killed, out of memory, or its "
                f"machine is gone; {_AGAIN}",
                LOST,
            )
        failed = client().key_value_dir_get(_FAILED)
        for key, text in failed:
            report = json.loads(text)
            index = key.rsplit("/", 1)[1]
            if report["kind"] == "user":
                own = f"process {index}: "
                return _verdict(own + report["message"].removeprefix(own), MENDABLE)
        if failed:
            # A broken collective is reported by the survivors: wait whether somebody is lost.
            self._failed_at = self._failed_at or now
            if now - self._failed_at > limit + 2 * _POLL_SECONDS:
                key, text = failed[0]
                index = int(key.rsplit("/", 1)[1])
                message = json.loads(text)["message"].splitlines()[0]
                return _verdict(
                    f"{self._group.members[index]} ended with an error, see its output: {message}",
                    DEFECT,
                )
        return None

    def _end(self, message: str, code: int) -> None:
        """Ends the process from any thread: the main one may wait for a collective for ever."""
        if code != LOST:
            sys.stderr.write(self._trace)
        self._say(message)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _catch_abort(self) -> None:
        """Gives JAX's abort after the loss of process 0 a message and an exit code."""
        if self._group.is_first:
            return
        host, port = split_address(self._group.address)

        def on_abort(number: int) -> None:
            try:
                socket.create_connection((host, port), timeout=5).close()
            except OSError:
                self._end(f"lost {self._group.members[0]}, the coordinator; {_AGAIN}", LOST)
            # Some other abort: let it be one.
            ctypes.CDLL(None).signal(number, 0)

        # Python's own handlers run in the main thread only, which waits for a collective.
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)


def _verdict(message: str, code: int) -> str:
    return json.dumps({"message": message, "code": code})
