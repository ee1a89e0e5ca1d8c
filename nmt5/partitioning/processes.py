"""A run in several processes: started together, told apart, and brought to JAX.

    explicit     coordinator address, number of processes and this one's number are given
    SLURM        started by `srun` with more than one task
    Open MPI     started by `mpirun` with more than one rank
    TPU pod      the machine is a worker of a TPU slice
    single       none of these

What the processes say to each other afterwards is in `nmt5.partitioning.agreement`; what happens
when one of them dies, in `nmt5.partitioning.watch`.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import glob
import importlib.util
import os
import re
import sys
from typing import Any

import jax

from nmt5.core.errors import ConfigError
from nmt5.partitioning.roll_call import Member, call_roll, split_address


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """How the processes of a run find each other, and how long they wait.

    The first three are left out on TPU pods, under SLURM and under Open MPI, which know them.

    Attributes:
      coordinator_address: host:port of process 0, the same in all processes.
      process_count: number of processes.
      process_index: number of this one, from 0.
      start_seconds: how long to wait for all to come.
      barrier_seconds: how long they wait for each other later, at saves for instance.
      lost_seconds: a process that gives no sign of life for so long is lost, and all others end.

    Raises:
      ConfigError: a number out of range, or some but not all of the first three.
    """

    coordinator_address: str | None = None
    process_count: int | None = None
    process_index: int | None = None
    start_seconds: int = 300
    barrier_seconds: int = 1800
    lost_seconds: int = 30

    def __post_init__(self):
        faults = [
            f"{name} is {getattr(self, name)}, expected {least} or more"
            for name, least in {"start_seconds": 1, "barrier_seconds": 1, "lost_seconds": 4}.items()
            if getattr(self, name) < least
        ]
        given = (self.coordinator_address, self.process_count, self.process_index)
        if any(value is not None for value in given):
            if self.process_count is None or self.process_index is None:
                faults.append("process_count and process_index must be set together")
            elif self.process_count < 1:
                faults.append(f"process_count is {self.process_count}, expected 1 or more")
            elif not 0 <= self.process_index < self.process_count:
                faults.append(
                    f"process_index is {self.process_index}, expected 0 to "
                    f"{self.process_count - 1} for {self.process_count} processes"
                )
            elif self.process_count > 1 and not self.coordinator_address:
                faults.append("coordinator_address must be set, host:port of process 0")
        if faults:
            raise ConfigError("ProcessConfig: " + "; ".join(faults))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of this run; the same in all but for `index`.

    Attributes:
      index: number of this process.
      members: all of them, by number.
      config: the time limits.
      address: of the coordinator, host:port; empty for a single process.
    """

    index: int = 0
    members: tuple[Member, ...] = ()
    config: ProcessConfig = ProcessConfig()
    address: str = ""

    @property
    def count(self) -> int:
        """Number of processes."""
        return max(len(self.members), 1)

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which writes logs and files that there is one of."""
        return self.index == 0


_SINGLE = Group()
_group = _SINGLE


def group() -> Group:
    """Returns the processes of this run: a single one unless `processes` is open."""
    return _group


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """What the surroundings say about a run's processes.

    Attributes:
      kind: "single", "explicit", "slurm", "ompi" or "tpu".
      local_devices: devices of the machine that are this process's; None leaves it to JAX.
    """

    kind: str
    local_devices: tuple[int, ...] | None = None


def find_launch(config: ProcessConfig, environment: Mapping[str, str]) -> Launch:
    """Decides how this process was launched.

    Args:
      config: explicit settings win.
      environment: environment variables.
    """
    if config.process_count is not None:
        return Launch(kind="explicit" if config.process_count > 1 else "single")
    if int(environment.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_NODELIST" in environment:
        return Launch(kind="slurm", local_devices=_slurm_devices(environment))
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return Launch(kind="ompi")
    wanted = environment.get("JAX_PLATFORMS", "")
    if (not wanted or "tpu" in wanted) and _is_tpu_machine():
        return Launch(kind="tpu")
    return Launch(kind="single")


def _slurm_devices(environment: Mapping[str, str]) -> tuple[int, ...] | None:
    """Returns all GPUs of the node if it has one task; JAX would take only the first."""
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE")
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    if tasks is not None and re.fullmatch(r"1(\(x\d+\))?", tasks) and gpus.isdecimal():
        return tuple(range(int(gpus)))
    return None


def _is_tpu_machine() -> bool:
    has_chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(has_chips) and importlib.util.find_spec("libtpu") is not None


@contextlib.contextmanager
def processes(
    config: ProcessConfig,
    *,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> Iterator[Group]:
    """Joins the processes of this run, and parts from them at the end.

    Must be entered before JAX touches a device. Inside, `group()` returns the processes. When one
    is lost, or ends with an error, the others end too, with a message and exit code
    (`nmt5.partitioning.watch`).

    Args:
      config: explicit settings and time limits.
      say: gets lines for the user.
      environment: environment variables; None takes this process's.

    Raises:
      ProcessError: a process is missing, counted twice or unreachable.
    """
    global _group
    launch = find_launch(config, os.environ if environment is None else environment)
    if launch.kind == "single":
        yield _SINGLE
        return
    address, index, count, devices = _resolve(config, launch)
    members = call_roll(address, index=index, count=count, seconds=config.start_seconds)
    jax.distributed.initialize(
        address,
        count,
        index,
        local_device_ids=devices,
        cluster_detection_method="deactivate",
        initialization_timeout=config.start_seconds,
        # Our own watch is faster and says more; this is the net below it. JAX sends a heartbeat
        # each half of this time, so it aborts as early as half of it after a process has died.
        heartbeat_timeout_seconds=4 * config.lost_seconds + 20,
        shutdown_timeout_seconds=config.lost_seconds,
    )
    from jax.experimental import multihost_utils

    from nmt5.partitioning.agreement import wait_for_all
    from nmt5.partitioning.watch import Watch

    _group = Group(index=index, members=tuple(members), config=config, address=address)
    watch = Watch(_group, say=say)
    try:
        with watch:
            # CPU collectives wait 30 s for each other at the first one, which would come after
            # compiling, when the processes are furthest apart: it is made here.
            multihost_utils.sync_global_devices("start")
            yield _group
            # Only here, where nothing went wrong: an error is reported by the watch.
            wait_for_all("end")
    finally:
        _group = _SINGLE
    jax.distributed.shutdown()


def _resolve(config: ProcessConfig, launch: Launch) -> tuple[str, int, int, Any]:
    """Returns address, index, count and devices of this process."""
    if launch.kind == "explicit":
        address, index, count = (
            config.coordinator_address,
            config.process_index,
            config.process_count,
        )
        assert address is not None and index is not None and count is not None
        split_address(address)
        return address, index, count, None
    # JAX knows how to read SLURM's, Open MPI's and the TPU's surroundings.
    from jax._src.clusters import ClusterEnv

    found = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, launch.local_devices, None, config.start_seconds
    )
    address, count, index, devices = found
    if address is None or index is None or count is None:
        raise ConfigError(
            f"processes: this looks like a run under {launch.kind}, but its address, number of "
            "processes or own number cannot be found; give --coordinator_address, "
            "--process_count and --process_index"
        )
    print(f"process {index} of {count}, coordinator {address}", file=sys.stderr, flush=True)
    return address, index, count, devices
