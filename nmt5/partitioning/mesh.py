"""The mesh of devices: three axes, and how many devices each has."""

from collections.abc import Mapping
import dataclasses
import math

import jax
import numpy as np

from nmt5.core.axes import DATA, FSDP, MESH_AXES, TENSOR
from nmt5.core.errors import ConfigError
from nmt5.partitioning.rules import MeshAxes, resolve_rules

__all__ = ["DATA", "FSDP", "MESH_AXES", "TENSOR", "MeshConfig", "make_mesh"]


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; at most one may be -1 for all that remain.

    Attributes:
      data: copies of the model, each with its own rows of the batch.
      fsdp: devices that share one copy's parameters and also split the batch.
      tensor: devices that split heads, feed-forward width and vocabulary.
      preset: a name of `nmt5.partitioning.rules.PRESETS`: what the axes split.
      rules: `{logical axis: mesh axis, several, or None}` instead of the preset's.

    Raises:
      ConfigError: a number below 1 that is not -1, more than one -1, or an unknown name.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    preset: str = "mixed"
    rules: Mapping[str, MeshAxes] | None = None

    def __post_init__(self):
        sizes = {name: getattr(self, name) for name in MESH_AXES}
        wrong = [
            f"{name} is {size!r}"
            for name, size in sizes.items()
            if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1)
        ]
        if wrong:
            raise ConfigError(
                f"MeshConfig: {', '.join(wrong)}; expected a number above 0, or -1 for the rest"
            )
        if list(sizes.values()).count(-1) > 1:
            raise ConfigError(f"MeshConfig: {sizes}: at most one axis may be -1 (the rest)")

        self.resolved_rules()

    def resolved_rules(self) -> Mapping[str, MeshAxes]:
        """Returns the whole table: the preset with the changes of `rules`."""
        return resolve_rules(self.preset, self.rules)

    def resolve(self, num_devices: int) -> tuple[int, int, int]:
        """Returns the sizes of (data, fsdp, tensor) on `num_devices` devices.

        >>> MeshConfig(fsdp=2).resolve(8)
        (4, 2, 1)

        Raises:
          ConfigError: the axes do not multiply to the number of devices; the message has the
            nearest mesh that does.
        """
        sizes = (self.data, self.fsdp, self.tensor)
        fixed = math.prod(size for size in sizes if size != -1)
        if -1 in sizes and num_devices % fixed == 0:
            return tuple(num_devices // fixed if size == -1 else size for size in sizes)
        if -1 not in sizes and fixed == num_devices:
            return sizes
        near = dict(zip(MESH_AXES, _nearest(sizes, num_devices)))
        written = dict(zip(MESH_AXES, sizes))
        product = f"a multiple of {fixed}" if -1 in sizes else f"{fixed}"
        raise ConfigError(
            f"MeshConfig: {written} needs {product} devices, found {num_devices}; the nearest "
            f"mesh that fits is {near}, or set one axis to -1"
        )


def make_mesh(config: MeshConfig, *, devices=None) -> jax.sharding.Mesh:
    """Returns the mesh over `devices` (all by default).

    Neighbours along `tensor` are neighbours in the machine: that axis talks most, `data` least.

    Raises:
      ConfigError: the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    shape = config.resolve(len(devices))
    if devices[0].platform == "tpu":
        from jax.experimental import mesh_utils  # knows the torus; needs real coordinates

        # A torus of 16 x 16 must serve 8 x 4 x 8 too: its axes may be split between ours.
        grid = mesh_utils.create_device_mesh(shape, devices=devices, allow_split_physical_axes=True)
    else:
        grid = np.asarray(devices).reshape(shape)
    return jax.sharding.Mesh(grid, MESH_AXES)


def _nearest(sizes, num_devices):
    """Returns the factorisation of `num_devices` that changes the wanted sizes least."""
    divisors = [d for d in range(1, num_devices + 1) if num_devices % d == 0]
    meshes = [
        (d, f, num_devices // d // f)
        for d in divisors
        for f in divisors
        if num_devices % (d * f) == 0
    ]

    def distance(mesh):
        return sum(
            abs(math.log(have / want)) for have, want in zip(mesh, sizes) if want != -1
        ), -mesh[0]

    return min(meshes, key=distance)
