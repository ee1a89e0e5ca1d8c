"""Who is lost, who failed, and what all processes then say; the clock and the service are toys."""

import json

import pytest

from nmt5.core.errors import DataError
from nmt5.partitioning import watch
from nmt5.partitioning.processes import Group, ProcessConfig
from nmt5.partitioning.roll_call import Member
from nmt5.partitioning.watch import Watch


class _Service:
    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value, allow_overwrite=False):
        assert allow_overwrite or key not in self.values
        self.values[key] = value

    def key_value_dir_get(self, key):
        return [(k, v) for k, v in self.values.items() if k.startswith(key)]


class _Ended(Exception):
    pass


@pytest.fixture
def world(monkeypatch):
    """Three processes' watches, a clock, and what is said."""

    class World:
        service, now, said = _Service(), 100.0, []

        def watch(self, index):
            members = tuple(Member(index=i, count=3, host=f"host{i}", pid=10 + i) for i in range(3))
            group = Group(index=index, members=members, config=ProcessConfig(lost_seconds=10))
            return Watch(group, say=self.said.append)

    world = World()
    world.said = []

    def exit_(code):
        raise _Ended(code)

    monkeypatch.setattr(watch, "client", lambda: world.service)
    monkeypatch.setattr(watch, "try_get", lambda key: world.service.values.get(key))
    monkeypatch.setattr(watch.time, "monotonic", lambda: world.now)
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(watch.os, "_exit", exit_)
    return world


def _turns(world, watches, *, seconds):
    for _ in range(seconds):
        world.now += 1
        for one in watches:
            one._turn()


def test_a_silent_process_ends_all(world):
    first, second, third = (world.watch(index) for index in range(3))
    _turns(world, [first, second, third], seconds=30)
    with pytest.raises(_Ended, match="75"):
        _turns(world, [second, first], seconds=12)
    assert world.now == 100 + 30 + 12  # its last sign was seen a second after it was given
    with pytest.raises(_Ended, match="75"):
        second._turn()
    assert world.said[0] == world.said[1]
    assert world.said[0].startswith("lost process 2 (pid 12 on host2): no sign of life for 10 s")


def test_a_process_that_never_gave_a_sign(world):
    first, second = world.watch(0), world.watch(1)
    with pytest.raises(_Ended, match="75"):
        _turns(world, [second, first], seconds=20)
    assert "lost process 2" in world.said[0]


def test_the_users_error_is_everybodys_at_once(world):
    first, third = world.watch(0), world.watch(2)
    _turns(world, [first, third], seconds=1)
    report = {"kind": "user", "message": "the disk is full"}
    world.service.values["nmt5/failed/2"] = json.dumps(report)
    with pytest.raises(_Ended, match="2"):
        first._turn()
    assert world.said == ["process 2: the disk is full"]


def test_a_broken_collective_is_blamed_on_the_lost_process(world):
    first, second = world.watch(0), world.watch(1)
    _turns(world, [first, second, world.watch(2)], seconds=1)
    world.service.values["nmt5/failed/1"] = json.dumps({"kind": "defect", "message": "Gloo"})
    with pytest.raises(_Ended, match="75"):
        _turns(world, [second, first], seconds=20)
    assert "lost process 2" in world.said[0]


def test_a_defect_ends_all_when_nobody_is_lost(world):
    watches = [world.watch(index) for index in range(3)]
    world.service.values["nmt5/failed/1"] = json.dumps(
        {"kind": "defect", "message": "KeyError: 'x'\nmore"}
    )
    with pytest.raises(_Ended, match="1"):
        _turns(world, watches, seconds=20)
    assert world.said == [
        "process 1 (pid 11 on host1) ended with an error, see its output: KeyError: 'x'"
    ]


def test_an_error_is_reported_and_ends_the_process(world, capsys):
    for error, code, said in (
        (DataError("no text"), "2", "no text"),
        (KeyError("x"), "1", "KeyError: 'x'"),
    ):
        world.service.values.clear()
        one = world.watch(1)
        one._thread.start()
        one._closed.set()  # no verdict comes: the process ends by itself
        with pytest.raises(_Ended, match=code):
            one.__exit__(type(error), error, error.__traceback__)
        assert json.loads(world.service.values["nmt5/failed/1"])["message"] == said
        assert world.said[-1] == said
    assert "KeyError" in capsys.readouterr().err
