"""How processes find out that they are several, and what they say to each other."""

import pytest

from nmt5.core.errors import ConfigError, DataError, ProcessError
from nmt5.partitioning import agreement, processes
from nmt5.partitioning.processes import Group, Launch, ProcessConfig, find_launch
from nmt5.partitioning.roll_call import Member


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"process_count": 2}, "process_count and process_index must be set together"),
        ({"coordinator_address": "a:1"}, "must be set together"),
        (
            {"process_count": 2, "process_index": 2, "coordinator_address": "a:1"},
            "process_index is 2, expected 0 to 1 for 2 processes",
        ),
        ({"process_count": 2, "process_index": 0}, "coordinator_address must be set"),
        ({"process_count": 0, "process_index": 0}, "process_count is 0, expected 1 or more"),
        ({"lost_seconds": 1, "start_seconds": 0}, "start_seconds is 0.*lost_seconds is 1"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ConfigError, match=message):
        ProcessConfig(**settings)


_SLURM = {"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "node[1-4]"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch(kind="single")),
        ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "node1"}, Launch(kind="single")),
        ({"SLURM_NTASKS": "4"}, Launch(kind="single")),  # an allocation, not a step of srun
        (_SLURM, Launch(kind="slurm")),
        (
            _SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_GPUS_ON_NODE": "8"},
            Launch(kind="slurm", local_devices=tuple(range(8))),
        ),
        (
            _SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_GPUS_ON_NODE": "4"},
            Launch(kind="slurm"),
        ),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, Launch(kind="ompi")),
    ],
)
def test_launch_by_surroundings(environment, expected):
    assert find_launch(ProcessConfig(), {"JAX_PLATFORMS": "cpu"} | environment) == expected


def test_launch_by_settings_and_on_a_tpu(monkeypatch):
    explicit = ProcessConfig(process_count=2, process_index=0, coordinator_address="a:1")
    assert find_launch(explicit, _SLURM).kind == "explicit"
    assert find_launch(ProcessConfig(process_count=1, process_index=0), _SLURM).kind == "single"
    monkeypatch.setattr(processes, "_is_tpu_machine", lambda: True)
    assert find_launch(ProcessConfig(), {}).kind == "tpu"
    assert find_launch(ProcessConfig(), {"JAX_PLATFORMS": "cpu"}).kind == "single"


def test_a_single_process_needs_no_service():
    with processes.processes(ProcessConfig(), say=print, environment={"JAX_PLATFORMS": "cpu"}) as g:
        assert (g.count, g.index, g.is_first) == (1, 0, True)
    agreement.wait_for_all("nobody")
    assert agreement.gather("values", 3).all() == [3]
    assert agreement.from_first("value", lambda: {"a": 1}) == {"a": 1}
    agreement.require_same("settings", "a: 1", remedy="")
    with pytest.raises(DataError, match="mine"), agreement.together("work"):
        raise DataError("mine")


class _Service:
    """The coordination service's key-value store, in this process."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value, allow_overwrite=False):
        assert allow_overwrite or key not in self.values
        self.values[key] = value

    def blocking_key_value_get(self, key, timeout_in_ms):
        import jax

        if key in self.values:
            return self.values[key]
        raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: waited in vain")

    def key_value_dir_get(self, key):
        return [(k, v) for k, v in self.values.items() if k.startswith(key)]

    def key_value_delete(self, key):
        for name in [name for name in self.values if name.startswith(key)]:
            del self.values[name]


@pytest.fixture
def as_process(monkeypatch):
    """Returns a function that makes this process number `index` of three."""
    service = _Service()
    monkeypatch.setattr(agreement, "client", lambda: service)

    def become(index):
        members = tuple(Member(index=i, count=3, host=f"host{i}", pid=10 + i) for i in range(3))
        config = ProcessConfig(barrier_seconds=1)
        monkeypatch.setattr(processes, "_group", Group(index=index, members=members, config=config))
        agreement._uses.clear()

    return become


def test_the_barrier_says_who_is_missing(as_process):
    as_process(2)
    agreement.gather("save", None)
    as_process(0)
    with pytest.raises(
        ProcessError, match=r"'save': process 1 \(pid 11 on host1\) did not come within 1 s"
    ):
        agreement.wait_for_all("save")
    as_process(1)
    with pytest.raises(ProcessError, match="'save': process 1 .* did not come"):
        agreement.wait_for_all("save")  # who comes too late is told the same


def test_process_0_is_missing(as_process):
    as_process(1)
    with pytest.raises(ProcessError, match=r"process 0 \(pid 10 on host0\) did not finish 'save'"):
        agreement.wait_for_all("save")


def test_the_error_of_one_is_raised_in_all(as_process):
    as_process(1)
    agreement.gather("work", {"kind": "DataError", "message": "no text"})
    as_process(2)
    agreement.gather("work", None)
    for index in (0, 2):
        as_process(index)
        with pytest.raises(DataError, match="process 1: no text"), agreement.together("work"):
            pass
