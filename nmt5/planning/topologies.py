"""TPU pods by JAX's topology names, what one device of them has, and GPUs for the local backend.

    v5e:16x16   256 devices, one to a chip
    v5p:4x4x8   128 devices, one to a chip of two cores; sold as v5p-256, by cores
    v3:16x16    256 chips of two devices each: 512 devices
    v4:4x4x8    128 devices, one to a chip of two cores that work as one ("megacore", as Google's
                machines start them; without it JAX would count 256, and makes no mesh of them)

Sources. Operations, memory and its speed of a chip: https://cloud.google.com/tpu/docs/v3, /v4,
/v5e, /v5p and /v6e (read in 2026); of v2 JAX's own table (jax 0.10.2, `pallas/mosaic/tpu_info.py`,
which agrees with those pages within a tenth but for v3's 140 Tflop/s). Links: the same pages give a
chip's links together, in both directions, for v5e (400 GB/s, 4 links) and v5p (1200 GB/s, 6), one
way for v6e (3200 Gbit/s, 4). Those of v3 and v4 (70 and 50 GB/s) are table 4 of "TPU v4: An
Optically Reconfigurable Supercomputer" (arXiv 2304.01433), of v2 (496 Gbit/s) "A Domain-Specific
Supercomputer for Training Deep Neural Networks". https://jax-ml.github.io/scaling-book/tpus puts
links a tenth lower, v3's at 100 GB/s. A device of v5e has 16 GiB, of which its compiler gives 15.75
to programs.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import importlib.util
import math
import os
import re

import jax

from nmt5.core.errors import ConfigError, unknown_name

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Generation:
    """One generation of TPU.

    Attributes:
      name: as topology names begin.
      dimensions: axes of a topology.
      devices_per_chip: JAX devices; 2 where a device is a core.
      cores_per_chip: what products are named by ("v5p-256" has 128 chips).
      flops_per_second: dense bfloat16 operations of one device.
      hbm_bytes: of one device.
      hbm_bytes_per_second: of one device.
      links: of a chip.
      link_bytes_per_second: of one link, in one direction.
      sold_by: "cores" or "chips": what the number in the product's name counts.
      product: the name's beginning.
    """

    name: str
    dimensions: int
    devices_per_chip: int
    cores_per_chip: int
    flops_per_second: float
    hbm_bytes: float
    hbm_bytes_per_second: float
    links: int
    link_bytes_per_second: float
    sold_by: str
    product: str


# name, dimensions, devices and cores of a chip, operations/s, HBM, HBM bytes/s, links of a chip,
# bytes/s of a link, what the product's name counts, the product
_TABLE = (
    ("v2", 2, 2, 2, 23e12, 8 * GIB, 358e9, 4, 62e9, "cores", "v2"),
    ("v3", 2, 2, 2, 61.5e12, 16 * GIB, 450e9, 4, 70e9, "cores", "v3"),
    ("v4", 3, 1, 2, 275e12, 32 * GIB, 1200e9, 6, 50e9, "cores", "v4"),
    ("v5e", 2, 1, 1, 197e12, 16 * GIB, 819e9, 4, 50e9, "chips", "v5litepod"),
    ("v5p", 3, 1, 2, 459e12, 95 * GIB, 2765e9, 6, 100e9, "cores", "v5p"),
    ("v6e", 2, 1, 1, 918e12, 32 * GIB, 1600e9, 4, 100e9, "chips", "v6e"),
)
# libtpu's default for v4 is two devices to a chip.
_CHIP_CONFIG = {"v4": {"chip_config_name": "megacore"}}
GENERATIONS = {row[0]: Generation(*row) for row in _TABLE}

# Shapes that are offered; any other of the right form may be written too.
OFFERED = {
    "v2": ("2x2", "4x4", "8x8", "16x16"),
    "v3": ("2x2", "4x4", "8x8", "16x16", "32x32"),
    "v4": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16"),
    "v5e": ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16"),
    "v6e": ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """A pod, or a part of one.

    Attributes:
      name: JAX's name, for example "v5p:4x4x8".
      generation: what its chips are.
      shape: chips along each axis.
    """

    name: str
    generation: Generation
    shape: tuple[int, ...]

    @property
    def num_chips(self) -> int:
        """Chips, which cost money by the hour."""
        return math.prod(self.shape)

    @property
    def num_devices(self) -> int:
        """What JAX counts and a mesh is made of."""
        return self.num_chips * self.generation.devices_per_chip

    @property
    def num_cores(self) -> int:
        """What the names of most products count."""
        return self.num_chips * self.generation.cores_per_chip

    @property
    def product(self) -> str:
        """The name that it is rented by, for example "v5p-256"."""
        count = self.num_cores if self.generation.sold_by == "cores" else self.num_chips
        return f"{self.generation.product}-{count}"

    @property
    def ici_bytes_per_second(self) -> float:
        """What a device can send while a collective uses one axis of the torus, both ways."""
        chip = 2 * self.generation.link_bytes_per_second
        return chip / self.generation.devices_per_chip

    def describe(self) -> str:
        """Returns one line for people."""
        return (
            f"{self.name}: {self.num_devices} devices, {self.num_chips} chips, {self.num_cores} "
            f"cores (sold as {self.product}), {self.generation.hbm_bytes / GIB:.0f} GiB a device"
        )


def find_topology(name: str) -> Topology:
    """Returns the topology of a name.

    >>> find_topology("v3:16x16").num_devices, find_topology("v5p:4x4x8").product
    (512, 'v5p-256')

    Raises:
      ConfigError: not a name of that form, or an unknown generation; with the nearest names.
    """
    known = [f"{generation}:{shape}" for generation, shapes in OFFERED.items() for shape in shapes]
    head, _, tail = name.partition(":")
    generation = GENERATIONS.get(head)
    if generation is not None and re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", tail):
        shape = tuple(map(int, tail.split("x")))
        if len(shape) == generation.dimensions:
            return Topology(name=name, generation=generation, shape=shape)
    by_product = {find_topology(one).product: one for one in known if name != one}
    if name in by_product:
        raise ConfigError(
            f"plan: topology '{name}' is the name of a product; JAX calls it '{by_product[name]}'"
        )
    raise ConfigError("plan: " + unknown_name("topology", name, known))


def topology_devices(topology: Topology) -> Sequence[jax.Device]:
    """Returns descriptions of the devices of a pod that is not there; needs libtpu.

    Raises:
      ConfigError: libtpu is not installed, or it does not know such a topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            f"plan: topology '{topology.name}' is compiled by libtpu, which is not installed; "
            "install the extra `plan` (uv sync --extra plan), or leave --topology out to plan for "
            "this machine"
        )
    from jax.experimental import topologies

    # libtpu asks the cloud's metadata server what machine it is on, and says at length that it
    # got no answer.
    for variable, value in (
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_ACCELERATOR_TYPE", topology.product),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_MIN_LOG_LEVEL", "3"),
        ("TPU_STDERR_LOG_LEVEL", "3"),
        # Plans may be made side by side; nothing here owns a TPU.
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ):
        os.environ.setdefault(variable, value)
    try:
        with _quiet_stderr():
            described = topologies.get_topology_desc(
                platform="tpu",
                topology_name=topology.name,
                **_CHIP_CONFIG.get(topology.generation.name, {}),
            )
    except Exception as error:
        raise ConfigError(
            f"plan: libtpu refuses topology '{topology.name}': {str(error).splitlines()[0]}; "
            f"offered are {', '.join(OFFERED[topology.generation.name])}"
        ) from error
    if len(described.devices) != topology.num_devices:
        raise ConfigError(
            f"plan: '{topology.name}' has {len(described.devices)} devices in libtpu, "
            f"{topology.num_devices} in nmt5's table; please report it"
        )
    return described.devices


@contextlib.contextmanager
def _quiet_stderr():
    """Drops what a C++ library writes while it loads."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
