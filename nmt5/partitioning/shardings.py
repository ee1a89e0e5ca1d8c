"""From names to shardings: parameters, optimizer slots and batches of a run on a mesh."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nmt5.core import axes
from nmt5.core.errors import ConfigError
from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.partitioning.rules import RULES, MeshAxes, axes_of, mesh_axes_of


def param_shardings(
    mesh: Mesh,
    *,
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    logical_axes: Mapping[str, tuple[str, ...]],
    rules: Mapping[str, MeshAxes] = RULES,
) -> dict[str, NamedSharding]:
    """Returns `{path: sharding}` of every parameter.

    Args:
      mesh: from `nmt5.partitioning.mesh.make_mesh`.
      shapes: `{path: shape}`, as `nmt5.model.parameters.param_shapes` gives them.
      logical_axes: `{path: names}`, as `param_axes` gives them.
      rules: logical axis -> mesh axes.

    Raises:
      ConfigError: an unknown axis, or dimensions that the mesh does not divide; all are listed.
    """
    shardings, faults = {}, []
    for path, shape in shapes.items():
        spec = mesh_axes_of(logical_axes[path], rules=rules, where=f"parameter '{path}'")
        for name, size, entry in zip(logical_axes[path], shape.shape, spec):
            parts = num_parts(mesh, entry)
            if size % parts:
                faults.append(f"'{path}' {shape.shape}: '{name}' ({size}) over {parts} of {entry}")
        shardings[path] = NamedSharding(mesh, PartitionSpec(*spec))
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if faults[5:] else "")
        raise ConfigError(
            f"partitioning: mesh {dict(mesh.shape)} does not divide {shown}; choose a size of "
            "that axis that divides them, or let the rules keep that dimension whole"
        )
    return shardings


def tree_shardings(
    mesh: Mesh, tree: Any, *, params: Mapping[str, NamedSharding], shapes: Mapping[str, Any]
) -> Any:
    """Returns a sharding for every leaf of a train state: parameters, optimizer slots, counters.

    A leaf whose path ends in a parameter's path follows it: entirely if it has the same shape;
    if it lacks dimensions (Adafactor's row and column statistics), by the dimensions it kept,
    found by their sizes. Where sizes are ambiguous (a square kernel's statistics) or nothing
    matches (scalars, (1,) place holders), the leaf is on every device: right, and small.

    Args:
      mesh: the mesh.
      tree: any pytree of arrays or shapes (`jax.eval_shape` of the state).
      params: `{path: sharding}` from `param_shardings`.
      shapes: `{path: shape}` of the parameters.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    by_leaf: dict[str, list[str]] = {}
    for path in params:
        by_leaf.setdefault(path.rsplit("/", 1)[-1], []).append(path)

    def of_leaf(key_path, leaf):
        names = tuple(_key_name(key) for key in key_path)
        # The parameter's path is a run of names; a slot's own name may stand after it.
        for end in (len(names), len(names) - 1):
            for path in by_leaf.get(names[end - 1], ()) if end > 0 else ():
                parts = tuple(path.split("/"))
                if names[max(0, end - len(parts)) : end] == parts:
                    spec = _kept_dimensions(shapes[path].shape, params[path].spec, leaf.shape)
                    return NamedSharding(mesh, PartitionSpec(*spec))
        return replicated

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def shard_tree(mesh: Mesh, tree: Mapping[str, Any], shardings: Mapping[str, NamedSharding]) -> Any:
    """Puts a nested dictionary of arrays on the mesh, each as `shardings` has its path."""
    flat = {path: jax.device_put(x, shardings[path]) for path, x in flatten_paths(tree).items()}
    return unflatten_paths(flat)


def batch_sharding(mesh: Mesh, *, rules: Mapping[str, MeshAxes] = RULES) -> NamedSharding:
    """Returns the sharding of batch arrays (rows, length): rows over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(*mesh_axes_of(("batch",), rules=rules)))


def rows_multiple(mesh: Mesh, *, rules: Mapping[str, MeshAxes] = RULES) -> int:
    """Returns the number that the rows of every batch array must be a multiple of."""
    return num_parts(mesh, mesh_axes_of(("batch",), rules=rules)[0])


def check_mesh(mesh: Mesh, *, num_heads: int, rules: Mapping[str, MeshAxes] = RULES) -> None:
    """Refuses a mesh with axes that the rules leave idle, or that cut heads in two.

    Raises:
      ConfigError: devices along an axis would all do the same work, or `num_heads` does not divide.
    """
    used = {axis for entry in rules.values() for axis in axes_of(entry)}
    idle = [
        f"'{axis}' ({size})" for axis, size in mesh.shape.items() if size > 1 and axis not in used
    ]
    if idle:
        raise ConfigError(
            f"partitioning: the rules split nothing over mesh axis {', '.join(idle)}, so its "
            "devices would all do the same work; give them to another axis, or choose another "
            "MeshConfig.preset"
        )
    parts = num_parts(mesh, rules[axes.JOINED_KV])
    if num_heads % parts:
        raise ConfigError(
            f"partitioning: {num_heads} heads over {parts} devices "
            f"({rules[axes.JOINED_KV]}) would cut heads in two; choose a divisor of {num_heads}, "
            "or let MeshConfig.rules keep 'joined_kv' whole"
        )


@dataclasses.dataclass(frozen=True)
class ActivationSplit:
    """Fixes how activations lie over a mesh, for `nmt5.core.target.tracing_for`.

    Where two dimensions ask for one mesh axis (a lookup's rows and the width of the table's
    parts), the last one has it. Dimensions that the mesh does not divide stay whole.
    """

    mesh: Mesh
    rules: Mapping[str, MeshAxes]

    def parts(self, axis: str) -> int:
        """Returns into how many parts a logical axis is split."""
        return num_parts(self.mesh, self.rules[axis])

    def __call__(self, array: jax.Array, names: tuple[str | None, ...]) -> jax.Array:
        """Returns the array with its sharding fixed."""
        mesh, rules = self.mesh, self.rules
        entries: list[MeshAxes] = []
        taken: set[str] = set()
        for name, size in reversed(list(zip(names, array.shape, strict=True))):
            wanted = mesh_axes_of((name,), rules=rules, where="an activation")[0]
            free = tuple(axis for axis in axes_of(wanted) if axis not in taken)
            if size % num_parts(mesh, free):
                free = ()
            taken.update(free)
            entries.append(free or None)
        spec = PartitionSpec(*reversed(entries))
        return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, spec))

    def map(
        self, function: Callable, arrays: Sequence, *, split: Sequence, result_split: Sequence
    ) -> tuple:
        """Calls a function on every device, as `nmt5.core.target.map_over_devices`.

        Raises:
          ConfigError: the rules give two dimensions of an array to one mesh axis.
        """

        def specs(arrays_axes):
            return tuple(
                PartitionSpec(*mesh_axes_of(names or (), rules=self.rules, where="an array"))
                for names in arrays_axes
            )

        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=specs(split),
            out_specs=specs(result_split),
            check_vma=False,  # what a kernel returns says nothing of how it varies
        )(*arrays)


def describe(shardings: Mapping[str, NamedSharding], shapes: Mapping[str, Any]) -> str:
    """Returns one line per parameter: path, shape, mesh axes; golden tests compare it."""
    return "".join(
        f"{path} {tuple(shapes[path].shape)} {tuple(sharding.spec)}\n"
        for path, sharding in sorted(shardings.items())
    )


def num_parts(mesh: Mesh, entry: MeshAxes) -> int:
    """Returns into how many parts an entry of the rules splits a dimension."""
    return math.prod(mesh.shape[axis] for axis in axes_of(entry))


def _key_name(key):
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _kept_dimensions(shape, spec, kept):
    """Returns the entries of `spec` for an array that has only some dimensions of `shape`."""
    entries = tuple(spec) + (None,) * (len(shape) - len(spec))
    if tuple(kept) == tuple(shape):
        return entries
    if not kept or len(kept) >= len(shape) or len(set(shape)) < len(shape):
        return ()
    remaining = dict(zip(shape, entries))
    if any(size not in remaining for size in kept):
        return ()
    return tuple(remaining[size] for size in kept)
