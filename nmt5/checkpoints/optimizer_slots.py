"""Adafactor's slots in a checkpoint: which there are, and what each is called."""

import numpy as np

from nmt5.checkpoints.mesh_tensorflow import FORMAT as MESH
from nmt5.checkpoints.mesh_tensorflow import is_exchanged
from nmt5.checkpoints.opened import SLOT_NAMES, OpenedCheckpoint
from nmt5.checkpoints.param_paths import parameter_shapes
from nmt5.checkpoints.tensors import DTYPES, TensorSpec
from nmt5.core.errors import CheckpointError


def slot_specs(opened: OpenedCheckpoint) -> dict[str, dict[str, TensorSpec]]:
    """Returns the shapes of all slots, by parameter path and slot; unused ones have shape (1,).

    Raises:
      CheckpointError: there are none, or they do not fit the parameters; all are listed.
    """
    if not opened.slots:
        raise CheckpointError(
            f"{opened.reader.source}: has no optimizer state that could be kept; use slots='reset'"
        )
    strange = []
    result = {}
    shapes = parameter_shapes(opened.config)
    for path, shape in shapes.items():
        held = opened.slots.get(path, {})
        specs = {slot: opened.reader.specs[name] for slot, name in held.items()}
        allowed = _slot_shapes(shape)
        for slot, spec in specs.items():
            if spec.shape not in allowed[slot] or spec.dtype.name not in ("float32", "bfloat16"):
                strange.append(f"  {held[slot]}: {spec}, parameter shape {list(shape)}")
        if not specs:
            strange.append(f"  {path}: no slot")
        one = TensorSpec((1,), DTYPES["float32"])
        result[path] = {slot: specs.get(slot, one) for slot in SLOT_NAMES}
    if strange:
        raise CheckpointError(
            f"{opened.reader.source}: optimizer state does not fit the parameters:\n"
            + "\n".join(strange[:40])
        )
    return result


def _slot_shapes(shape: tuple[int, ...]) -> dict[str, set[tuple[int, ...]]]:
    """Returns the shapes that Adafactor's slots of a parameter may have; (1,) is unused."""
    allowed = {slot: {(1,)} for slot in SLOT_NAMES}
    allowed["v"].add(shape)
    allowed["m"].add(shape)
    if len(shape) == 2:
        largest, second = np.argsort(shape, kind="stable")[::-1]
        allowed["v_row"].add((shape[second],))
        allowed["v_col"].add((shape[largest],))
    return allowed


def slot_names(opened: OpenedCheckpoint, path: str) -> tuple[dict[str, str], bool]:
    """Returns the foreign name of each slot of a parameter under T5X's meaning of the slots.

    Returns:
      Names by slot, and whether `v_row` and `v_col` were exchanged, as Mesh TensorFlow needs it
      for square kernels.
    """
    names = dict(opened.slots[path])
    shape = parameter_shapes(opened.config)[path]
    exchange = opened.format == MESH and is_exchanged(shape) and "v_row" in names
    if exchange:
        names["v_row"], names["v_col"] = names["v_col"], names["v_row"]
    return names, exchange
