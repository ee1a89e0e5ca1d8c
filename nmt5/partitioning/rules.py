"""One table: which mesh axis splits which logical axis."""

from collections.abc import Mapping
import types

from nmt5.core import axes
from nmt5.core.axes import DATA, FSDP, MESH_AXES, TENSOR
from nmt5.core.errors import ConfigError, unknown_name

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
        axes.ACTIVATION_EMBED: None,  # a position's state is whole wherever its row is
    }
)


def _changed(**changes: MeshAxes) -> Mapping[str, MeshAxes]:
    return types.MappingProxyType({**RULES, **changes})


_WHOLE = {axes.VOCAB: None, axes.JOINED_KV: None, axes.MLP: None}
# Each differs from RULES by a line or two. An axis of the mesh that a preset does not use must have
# size 1.
PRESETS: Mapping[str, Mapping[str, MeshAxes]] = types.MappingProxyType(
    {
        # Parameters over fsdp, widths over tensor, rows over data and fsdp.
        "mixed": RULES,
        # Every device has all parameters.
        "data_parallel": _changed(**_WHOLE, embed=None),
        # Parameters and optimizer over fsdp (ZeRO-3); no product is split.
        "fully_sharded": _changed(**_WHOLE),
        # Widths over tensor as in Megatron; parameters whole otherwise.
        "tensor_1d": _changed(embed=None),
        # Both dimensions of every product are split: fsdp is a second tensor axis, and rows are
        # over data alone. For batches with few rows.
        "tensor_2d": _changed(batch=DATA, activation_embed=FSDP),
    }
)


def resolve_rules(
    preset: str, changes: Mapping[str, MeshAxes] | None = None
) -> Mapping[str, MeshAxes]:
    """Returns a preset's table with some rows changed.

    >>> resolve_rules("mixed", {"embed": None})["embed"] is None
    True

    Args:
      preset: a name of `PRESETS`.
      changes: `{logical axis: mesh axis, several, or None}`.

    Raises:
      ConfigError: an unknown preset, logical axis or mesh axis; all are listed.
    """
    if preset not in PRESETS:
        raise ConfigError("MeshConfig.preset: " + unknown_name("preset", preset, PRESETS))
    changes = changes or {}
    faults = [unknown_name("logical axis", name, RULES) for name in changes if name not in RULES]
    faults += [
        f"'{name}': " + unknown_name("mesh axis", axis, MESH_AXES)
        for name, entry in changes.items()
        for axis in axes_of(entry)
        if axis not in MESH_AXES
    ]
    if faults:
        raise ConfigError("MeshConfig.rules: " + "; ".join(faults))
    entries = {
        name: tuple(entry) if isinstance(entry, list) else entry for name, entry in changes.items()
    }
    return types.MappingProxyType({**PRESETS[preset], **entries})


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
    used = [axis for entry in resolved for axis in axes_of(entry)]
    for axis in used:
        if axis not in MESH_AXES:
            raise ConfigError(prefix + unknown_name("mesh axis", axis, MESH_AXES))
        if used.count(axis) > 1:
            raise ConfigError(
                f"{prefix}logical axes {logical_axes} map to {tuple(resolved)}: mesh axis "
                f"'{axis}' can split one dimension only; change the partitioning rules"
            )
    return tuple(resolved)


def axes_of(entry: MeshAxes) -> tuple[str, ...]:
    """Returns the mesh axes of one entry of a table."""
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
