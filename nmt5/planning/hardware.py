"""What the devices of a plan have: from the table of pods, or asked of this machine."""

import dataclasses
import os

import jax

from nmt5.planning.topologies import Topology
from nmt5.training.flops import peak_flops_per_second


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """The devices of a mesh; a figure is None where it is not known.

    Attributes:
      description: one line for people.
      num_devices: devices, all alike.
      memory_bytes: of one device.
      memory_bytes_per_second: of one device.
      flops_per_second: dense bfloat16 operations of one device; float32 on CPU.
      link_bytes_per_second: what one device can send.
    """

    description: str
    num_devices: int
    memory_bytes: float | None
    memory_bytes_per_second: float | None
    flops_per_second: float | None
    link_bytes_per_second: float | None


def hardware_of(topology: Topology | None) -> Hardware:
    """Returns what a pod has, or for None what this machine has."""
    if topology is not None:
        generation = topology.generation
        return Hardware(
            description=topology.describe(),
            num_devices=topology.num_devices,
            memory_bytes=generation.hbm_bytes,
            memory_bytes_per_second=generation.hbm_bytes_per_second,
            flops_per_second=generation.flops_per_second,
            link_bytes_per_second=topology.ici_bytes_per_second,
        )
    devices = jax.devices()
    peak = peak_flops_per_second(devices)
    return Hardware(
        description=f"{len(devices)} x {devices[0].device_kind} (this machine)",
        num_devices=len(devices),
        memory_bytes=_local_memory_bytes(),
        memory_bytes_per_second=None,
        flops_per_second=None if peak is None else peak / len(devices),
        link_bytes_per_second=None,
    )


def _local_memory_bytes() -> float | None:
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        # All devices of the CPU share the machine's memory.
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return memory / jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit")
