"""Processes that meet before JAX starts: all there, or told what is wrong."""

from concurrent.futures import ThreadPoolExecutor
import dataclasses
import json
import socket
import time

import pytest

from nmt5.core.errors import ProcessError
from nmt5.partitioning import roll_call
from nmt5.partitioning.roll_call import Member, call_roll, split_address


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _meet(address, calls, *, seconds=1.5):
    """Runs one thread per (index, count); returns what each got, members or message."""

    def one(call):
        try:
            return call_roll(address, index=call[0], count=call[1], seconds=seconds)
        except ProcessError as error:
            return str(error)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_all_are_told_of_all(address):
    found = _meet(address, [(2, 3), (0, 3), (1, 3)], seconds=30)
    assert found[0] == found[1] == found[2]
    assert [member.index for member in found[0]] == [0, 1, 2]


def test_missing_ones_are_named_to_all_that_came(address):
    first, third = _meet(address, [(0, 4), (2, 4)])
    assert first == third
    assert "2 of 4 did not come within 2 s: 1, 3; here are process 0 (pid " in first


def test_a_number_taken_twice(address):
    found = _meet(address, [(0, 3), (2, 3), (2, 3)], seconds=10)
    assert all("number 2 is taken twice, by process 2 (pid " in text for text in found)


def test_other_counts_and_versions(address, monkeypatch):
    first, second = _meet(address, [(0, 2), (1, 3)], seconds=10)
    assert first == second
    assert "was told of 3 processes, process 0" in first
    present = {0: Member(index=0, count=2)}
    older = Member(index=1, count=2, version="0.0.1")
    assert "runs nmt5 0.0.1" in roll_call._conflict(older, present)
    assert "numbers go from 0 to 1" in roll_call._conflict(Member(index=2, count=2), present)


def test_nobody_answers(address):
    (message,) = _meet(address, [(1, 2)], seconds=0.5)
    assert f"process 0 cannot be reached at {address} within 0 s" in message.replace("1 s", "0 s")


def test_the_port_is_taken(address):
    host, port = split_address(address)
    with (
        socket.create_server((host, port)),
        pytest.raises(ProcessError, match=f"port {port}: Addr"),
    ):
        call_roll(address, index=0, count=2, seconds=1)


def test_strangers_and_restarts_do_no_harm(address):
    """A port scanner, and a process 1 that died after its first call and came again."""
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call_roll, address, index=0, count=3, seconds=30)]
        for line in (b"GET / HTTP/1.1\r\n", b'{"index": 1}\n', b""):
            _send(address, line)
        died = json.dumps(dataclasses.asdict(Member(index=1, count=3, pid=1)))
        _send(address, died.encode() + b"\n")
        for index in (2, 1):  # once 2 is there, all would be but for the one that died
            calls.append(pool.submit(call_roll, address, index=index, count=3, seconds=30))
            time.sleep(0.5)
        first, *others = [call.result() for call in calls]
    assert [member.index for member in first] == [0, 1, 2]
    assert first[1].pid != 1
    assert others == [first, first]


def _send(address, line):
    for _ in range(100):
        try:
            with socket.create_connection(split_address(address)) as connection:
                connection.sendall(line)
            return
        except ConnectionRefusedError:
            time.sleep(0.05)


@pytest.mark.parametrize("address", ["host", "host:", ":80", "host:0", "host:65536", "host:x"])
def test_addresses(address):
    with pytest.raises(ProcessError, match="expected host:port of process 0"):
        split_address(address)
