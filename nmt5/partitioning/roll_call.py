"""The roll call of a run: are all its processes there, before any of them calls JAX?

`jax.distributed.initialize` aborts the interpreter with a stack trace when a process is missing,
counted twice, or cannot reach the first (seen with jax 0.10.2). So the processes first meet over
plain sockets on the same port: each sends one line saying who it is, the first answers all with
"all here" or with what is wrong, and the port is free again for JAX.
"""

from collections.abc import Mapping
import dataclasses
import errno
import json
import os
import selectors
import socket
import time
from typing import Any

from nmt5 import __version__
from nmt5.core.errors import ProcessError

_RETRY_SECONDS = 0.2
# How long one process may take over a line, so that it does not hold up the others.
_ANSWER_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """One process of a run: its number, how many there are, and where it is."""

    index: int
    count: int
    host: str = dataclasses.field(default_factory=socket.gethostname)
    pid: int = dataclasses.field(default_factory=os.getpid)
    version: str = __version__

    def __str__(self) -> str:
        """Returns the words for messages."""
        return f"process {self.index} (pid {self.pid} on {self.host})"


def call_roll(address: str, *, index: int, count: int, seconds: float) -> list[Member]:
    """Waits until all processes of the run have said that they are there.

    Args:
      address: "host:port" of process 0, which listens on all its interfaces.
      index: number of this process, 0 to count - 1.
      count: number of processes.
      seconds: time limit.

    Returns:
      All processes, by number.

    Raises:
      ProcessError: in every process that answers: one is missing (says which), two have the same
        number, counts or versions differ, or the first cannot be reached.
    """
    host, port = split_address(address)
    own = Member(index=index, count=count)
    deadline = time.monotonic() + seconds
    if index == 0:
        return _hold(own, port=port, deadline=deadline, seconds=seconds)
    return _answer(own, host=host, port=port, deadline=deadline, seconds=seconds)


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of "host:port".

    >>> split_address("10.0.0.1:1234"), split_address("[::1]:80")
    (('10.0.0.1', 1234), ('::1', 80))

    Raises:
      ProcessError: there is no port, or none between 1 and 65535.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ProcessError(
            f"processes: coordinator address '{address}', expected host:port of process 0, for "
            "example 10.0.0.1:1234"
        )
    return host.strip("[]"), int(port)


def _hold(own: Member, *, port: int, deadline: float, seconds: float) -> list[Member]:
    """Process 0: collects the others and tells them the outcome."""
    present: dict[int, Member] = {0: own}
    guests: dict[int, socket.socket] = {}
    with _listen(port) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        fault = None
        while len(present) < own.count and fault is None:
            left = deadline - time.monotonic()
            if left <= 0:
                fault = _missing(present, own.count, seconds)
                break
            for _ in selector.select(timeout=left):
                guest, _ = listener.accept()
                line = _read_line(guest, seconds=max(min(left, _ANSWER_SECONDS), 0.1))
                member = _member(line)
                if member is None:  # somebody else's connection, a port scanner's perhaps
                    guest.close()
                    continue
                _forget_those_that_left(present, guests)  # this one may have been started again
                fault = fault or _conflict(member, present)
                present.setdefault(member.index, member)
                # One that is refused gets the answer too; its number may be somebody else's.
                guests[member.index if member.index not in guests else -len(guests)] = guest
                _forget_those_that_left(present, guests)
        members = [present[index] for index in sorted(present)]
        answer = {"fault": fault, "members": [dataclasses.asdict(member) for member in members]}
        for guest in guests.values():
            with guest:
                _send_line(guest, answer)
    if fault is not None:
        raise ProcessError(fault)
    return members


def _forget_those_that_left(present: dict[int, Member], guests: dict[int, socket.socket]) -> None:
    """Counts no process that died while it waited; started again it calls again."""
    for index in [i for i, guest in guests.items() if i in present and _has_left(guest)]:
        guests.pop(index).close()
        del present[index]


def _answer(own: Member, *, host: str, port: int, deadline: float, seconds: float) -> list[Member]:
    """Every other process: says that it is here, waits for the outcome."""
    reached, why = False, ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                reached = True
                _send_line(connection, dataclasses.asdict(own))
                answer = _read_line(connection, seconds=left + _ANSWER_SECONDS)
        except OSError as error:
            why = str(error)
        else:
            if answer is not None:
                if answer["fault"]:
                    raise ProcessError(answer["fault"])
                return [Member(**member) for member in answer["members"]]
            why = "it closed the connection"
        time.sleep(_RETRY_SECONDS)
    doing = "process 0 did not finish its roll call" if reached else "process 0 cannot be reached"
    raise ProcessError(
        f"processes: {doing} at {host}:{port} within {seconds:.0f} s ({why or 'no answer'}); see "
        "that it was started, that the address is its own and that no firewall is between"
    )


def _missing(present: Mapping[int, Member], count: int, seconds: float) -> str:
    missing = [index for index in range(count) if index not in present]
    shown = ", ".join(map(str, missing[:20])) + (" ..." if len(missing) > 20 else "")
    here = ", ".join(str(member) for member in list(present.values())[:8])
    return (
        f"processes: {len(missing)} of {count} did not come within {seconds:.0f} s: {shown}; here "
        f"{'is' if len(present) == 1 else 'are'} {here}{' ...' if len(present) > 8 else ''}; start "
        "the missing ones with the same command, or correct the number of processes"
    )


def _conflict(member: Member, present: Mapping[int, Member]) -> str | None:
    first = present[0]
    if member.count != first.count:
        return (
            f"processes: {member} was told of {member.count} processes, {first} of {first.count}; "
            "start all with the same number"
        )
    if not 0 <= member.index < first.count:
        return f"processes: {member} of {first.count}; numbers go from 0 to {first.count - 1}"
    if member.index in present:
        return (
            f"processes: number {member.index} is taken twice, by {present[member.index]} and "
            f"{member}; give each process its own"
        )
    if member.version != first.version:
        return (
            f"processes: {member} runs nmt5 {member.version}, {first} runs {first.version}; "
            "install the same version everywhere"
        )
    return None


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise ProcessError(
            f"processes: process 0 cannot listen on port {port}: {error.strerror}; an earlier run "
            "may still hold it; choose another port for all processes"
        ) from error


def _has_left(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_ANSWER_SECONDS)


def _send_line(connection: socket.socket, value: Mapping[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(value).encode() + b"\n")
    except OSError:
        return  # it is gone, and will be missed elsewhere


def _read_line(connection: socket.socket, *, seconds: float) -> Any:
    """Returns the JSON value of one line; None if there was none."""
    connection.settimeout(seconds)
    try:
        with connection.makefile("rb") as file:
            return json.loads(file.readline())
    except (OSError, ValueError):
        return None


def _member(line: Any) -> Member | None:
    names = {field.name for field in dataclasses.fields(Member)}
    return Member(**line) if isinstance(line, dict) and set(line) == names else None
