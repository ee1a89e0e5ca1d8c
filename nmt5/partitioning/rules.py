"""One table: which mesh axis splits which logical axis."""

from collections.abc import Mapping
import types

from nmt5.core import axes
from nmt5.core.errors import ConfigError, unknown_name
from nmt5.partitioning.mesh import DATA, FSDP, MESH_AXES, TENSOR

MeshAxes = str | tuple[str, ...] | None

RULES: Mapping[str, MeshAxes] = types.MappingProxyType(
    {
        axes.BATCH: (DATA, FSDP),  # every device that is not a tensor neighbour has its own rows
        axes.LENGTH: None,  # sequences stay whole: attention reads all of a row
        axes.EMBED: FSDP,  # the axis nearly every parameter has; gathered layer by layer in use
        axes.VOCAB: TENSOR,  # embedding rows and head columns; the loss walks all parts at once
        axes.HEADS: None,  # of the relative table only (H x 32), too small to be worth splitting
        axes.KV: None,  # a head's components stay together
        axes.JOINED_KV: TENSOR,  # head-major, so whole heads go to a device
        axes.MLP: TENSOR,  # the feed-forward width, split as in Megatron
        axes.RELPOS_BUCKETS: None,
        axes.LAYERS: None,  # scanned layers: every device computes every layer
    }
)
# T5X's and Megatron's layouts differ from RULES by a line or two; name them instead of restating.
PRESETS: Mapping[str, Mapping[str, MeshAxes]] = types.MappingProxyType(
    {
        "standard": RULES,
        "replicated": types.MappingProxyType(
            {name: (DATA, FSDP) if name == axes.BATCH else None for name in RULES}
        ),
    }
)


def mesh_axes_of(
    logical_axes: tuple[str | None, ...], *, rules: Mapping[str, MeshAxes] = RULES, where: str = ""
) -> tuple[MeshAxes, ...]:
    """Returns the mesh axes of an array's logical axes.

    >>> mesh_axes_of(("vocab", "embed"))
    ('tensor', 'fsdp')

    Args:
      logical_axes: one name per dimension; None for a dimension that is never split.
      rules: the table.
      where: what the array is, for messages.

    Raises:
      ConfigError: a name that the table lacks (Flax would take it for "not split" without a
        word), or one mesh axis for two dimensions.
    """
    resolved, prefix = [], f"{where}: " if where else ""
    for name in logical_axes:
        if name is not None and name not in rules:
            raise ConfigError(prefix + unknown_name("logical axis", name, rules))
        resolved.append(None if name is None else rules[name])
    used = [axis for entry in resolved for axis in _as_tuple(entry)]
    for axis in used:
        if axis not in MESH_AXES:
            raise ConfigError(prefix + unknown_name("mesh axis", axis, MESH_AXES))
        if used.count(axis) > 1:
            raise ConfigError(
                f"{prefix}logical axes {logical_axes} map to {tuple(resolved)}: mesh axis "
                f"'{axis}' can split one dimension only; change the partitioning rules"
            )
    return tuple(resolved)


def _as_tuple(entry: MeshAxes) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
