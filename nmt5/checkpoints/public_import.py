"""The parameters, or the whole training state, of any public checkpoint; one tensor at a time."""

from collections.abc import Mapping
import os
from typing import Any

import jax
import numpy as np

from nmt5.checkpoints import hub
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.opened import OpenedCheckpoint, require_finite
from nmt5.checkpoints.optimizer_slots import SlotReader
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.model.config import ModelConfig


def import_public(
    path: os.PathLike | str, *, step: int | None = None
) -> tuple[dict[str, Any], ModelConfig, int | None]:
    """Loads the parameters of any public checkpoint into this process's memory.

    Args:
      path: as `ConvertConfig.source`.
      step: which checkpoint of a directory of several; the last if None.

    Returns:
      Nested dictionary of float32 NumPy arrays in T5X's tree, the model's configuration, and the
      training step if the format keeps one.

    Raises:
      CheckpointError: damaged, incomplete, holding NaN, or no T5-family model.
    """
    opened = open_checkpoint(hub.resolve(os.fspath(path)), step=step)
    opened.check_duplicates()
    flat = {
        binding.path: np.array(_parameter(opened, binding), dtype=np.float32, order="C")
        for binding in opened.bindings.parameters
    }
    return unflatten_paths(flat), opened.config, opened.step


def place_parameters(opened: OpenedCheckpoint, shardings: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the parameters on a mesh; no process holds more than one tensor beside its own share.

    Args:
      opened: a public checkpoint.
      shardings: tree of shardings, one per parameter.

    Returns:
      Nested dictionary of float32 arrays.

    Raises:
      CheckpointError: damaged, holding NaN, or of another model than the shardings.
    """
    opened.check_duplicates()
    wanted = flatten_paths(shardings)
    if wanted.keys() != {binding.path for binding in opened.bindings.parameters}:
        raise CheckpointError(f"{opened.reader.source}: has the parameters of another model")
    flat = {}
    for binding in opened.bindings.parameters:
        values = _parameter(opened, binding)
        flat[binding.path] = _placed(values.astype(np.float32), wanted[binding.path])
        del values
    opened.release()
    return unflatten_paths(flat)


def place_state(opened: OpenedCheckpoint, abstract: Mapping[str, Any]) -> dict[str, Any]:
    """As `place_parameters`, with Adafactor's slots and the step.

    Args:
      opened: a public checkpoint that keeps the optimizer's state.
      abstract: `TrainState.to_tree()` of `jax.ShapeDtypeStruct` with shardings.

    Returns:
      A tree like `abstract` of arrays; what a public checkpoint does not count is 0.

    Raises:
      CheckpointError: no optimizer state, or one that does not fit the optimizer; all is listed.
    """
    slots = SlotReader(opened)
    step = np.int32(opened.step or 0)
    state = flatten_paths(abstract["state"])
    found, strange = {}, []
    for path, leaf in state.items():
        kind, _, rest = path.partition("/")
        slot, _, parameter = rest.partition("/")
        if kind != "optimizer" or not parameter:
            counted = {"step": step, "optimizer/count": step}.get(path, 0)
            found[path] = _placed(np.full(leaf.shape, counted, leaf.dtype), leaf.sharding)
            continue
        spec = slots.specs[parameter][slot]
        if spec.shape != leaf.shape:
            strange.append(f"  {slot} of {parameter}: {list(spec.shape)}, expected {leaf.shape}")
    if "m" not in abstract["state"]["optimizer"]:
        momentum = [path for path, held in slots.specs.items() if held["m"].shape != (1,)]
        strange += [f"  momentum of {path}, expected none" for path in momentum]
    if strange:
        raise CheckpointError(
            f"{opened.reader.source}: optimizer state of another kind than OptimizerConfig's "
            "(beta1, min_dim_size_to_factor):\n" + "\n".join(strange[:20])
        )
    for path, leaf in state.items():
        if path not in found:
            _, slot, parameter = path.split("/", 2)
            found[path] = _placed(slots.read(parameter, slot).astype(leaf.dtype), leaf.sharding)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract["target"])
    return {"target": place_parameters(opened, shardings), "state": unflatten_paths(found)}


def _parameter(opened: OpenedCheckpoint, binding: Any) -> np.ndarray:
    return require_finite(opened, binding.path, opened.read(binding))


def _placed(values: np.ndarray, sharding: Any) -> jax.Array:
    """Returns an array of which each process has put its own part on its devices."""
    return jax.make_array_from_callback(
        values.shape, sharding, lambda index: np.asarray(values[index])
    ).block_until_ready()
