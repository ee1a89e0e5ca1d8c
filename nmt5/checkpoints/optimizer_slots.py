"""Adafactor's slots in a checkpoint: which there are, what each means, and how layouts differ.

nmt5 and T5X's unscanned models agree: of a matrix, `v_row` keeps the smaller axis and `v_col` the
larger. In T5X's scanned layers, and where attention heads are kept apart, `v_row` always keeps the
model width D and `v_col` the rest, whatever their sizes:

    query kernel (D, L, H, K)    v_row (D, L)    v_col (L, H, K)
    mlp/wo kernel (F, L, D)      v_row (L, D)    v_col (F, L)
    norm scale (D, L), relative table (H, L, 32): unfactored `v`

There a matrix is factored at any size, here from 128 x 128 on. The means of an unfactored `v` are
its factors exactly; the other way round v = v_row v_col / mean(v_row), which is what Adafactor
takes the moments to be.

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/adafactor.py
  (`_parse_rule`, `init_param_state`, `standard_logical_factor_rules`).
"""

from collections.abc import Sequence
import re

import numpy as np

from nmt5.checkpoints.binding import Binding
from nmt5.checkpoints.mesh_tensorflow import FORMAT as MESH
from nmt5.checkpoints.mesh_tensorflow import is_exchanged
from nmt5.checkpoints.opened import SLOT_NAMES, OpenedCheckpoint, require_finite
from nmt5.checkpoints.orientation import Transform, to_foreign, to_t5x
from nmt5.checkpoints.param_paths import TEMPLATES, parameter_shapes
from nmt5.checkpoints.tensors import DTYPES, TensorSpec
from nmt5.core.errors import CheckpointError

MIN_FACTORED = 128
UNUSED = np.zeros(1, np.float32)
_FACTORS = ("v_row", "v_col")
_FLOATS = ("float32", "bfloat16")
_JOINS = {Transform.JOIN_LAST, Transform.JOIN_FIRST, Transform.LAYER_JOIN_LAST,
          Transform.LAYER_JOIN_FIRST}  # fmt: skip


class SlotReader:
    """The slots of an opened checkpoint under nmt5's meaning, one at a time.

    Attributes:
      shapes: of the parameters, by path.
      specs: shapes of the slots as `read` gives them, `{path: {slot: spec}}`.
    """

    def __init__(self, opened: OpenedCheckpoint):
        """Checks that there are slots and that all fit.

        Raises:
          CheckpointError: there are none, or they do not fit the parameters; all are listed.
        """
        if not opened.slots:
            raise CheckpointError(
                f"{opened.reader.source}: has no optimizer state that could be kept; use "
                "slots='reset'"
            )
        self._opened = opened
        self._bindings = {binding.path: binding for binding in opened.bindings.parameters}
        self.shapes = parameter_shapes(opened.config)
        self._kept: tuple[str, np.ndarray] = ("", UNUSED)
        self.specs = self._check()

    @property
    def num_exchanged(self) -> int:
        """Square kernels whose `v_row` and `v_col` Mesh TensorFlow names the other way round."""
        return sum(map(self._is_exchanged, self._bindings)) if self._opened.format == MESH else 0

    def read(self, path: str, slot: str) -> np.ndarray:
        """Returns one slot of a parameter; zeros of shape (1,) if it is not used.

        Raises:
          CheckpointError: damaged, or NaN.
        """
        if self.specs[path][slot].shape == (1,):
            return UNUSED
        binding, shape = self._bindings[path], self.shapes[path]
        if not _by_rule(binding):
            if slot in _FACTORS and self._is_exchanged(path):
                slot = "v_col" if slot == "v_row" else "v_row"
            return self._foreign(path, slot)
        if slot in ("v", "m") and self._is_used(path, slot):
            values = self._foreign(path, slot)
            return np.ascontiguousarray(to_t5x(values, binding.transform, layer=binding.layer))
        embed, rest = (self._factor(path, factor) for factor in _FACTORS)
        axis = _letters(path).index("D")
        if slot == "v":
            across = np.outer(embed, rest) if axis == 0 else np.outer(rest, embed)
            return across / np.maximum(embed.mean(), np.finfo(np.float32).tiny)
        return embed if _kept_axis(shape, slot) == axis else rest

    def _factor(self, path: str, slot: str) -> np.ndarray:
        """Returns what T5X's rules keep of one layer: along D (`v_row`), or along all the rest."""
        labels = _factor_labels(self._bindings[path], slot)
        values = self._foreign(path, slot)
        if "L" in labels:
            values = np.take(values, self._bindings[path].layer, axis=labels.index("L"))
        return np.ascontiguousarray(values).reshape(-1)

    def _foreign(self, path: str, slot: str) -> np.ndarray:
        name = self._opened.slots[path][slot]
        if self._kept[0] != name:
            self._kept = ("", UNUSED)
            values = self._opened.reader.read(name)
            self._kept = (name, require_finite(self._opened, f"{path} {slot}", values))
        return self._kept[1]

    def _is_used(self, path: str, slot: str) -> bool:
        name = self._opened.slots.get(path, {}).get(slot)
        return name is not None and self._opened.reader.specs[name].shape != (1,)

    def _is_exchanged(self, path: str) -> bool:
        mesh = self._opened.format == MESH and is_exchanged(self.shapes[path])
        return mesh and "v_row" in self._opened.slots[path]

    def _check(self) -> dict[str, dict[str, TensorSpec]]:
        """Returns the shapes of all slots as `read` gives them, by parameter path and slot."""
        strange, result = [], {}
        for path, shape in self.shapes.items():
            held = self._opened.slots.get(path, {})
            if not held:
                strange.append(f"  {path}: no slot")
                continue
            allowed = self._allowed(path)
            for slot, name in held.items():
                spec = self._opened.reader.specs[name]
                if spec.shape not in ((1,), allowed[slot]) or spec.dtype.name not in _FLOATS:
                    strange.append(f"  {name}: {spec}, parameter shape {list(shape)}")
            result[path] = self._shapes_here(path)
        if strange:
            raise CheckpointError(
                f"{self._opened.reader.source}: optimizer state does not fit the parameters:\n"
                + "\n".join(strange[:40])
            )
        return result

    def _allowed(self, path: str) -> dict[str, tuple[int, ...] | None]:
        """Returns the shape that each slot has in the file if it is used; None: it may not be."""
        binding, shape = self._bindings[path], self.shapes[path]
        if not _by_rule(binding):
            factors = {slot: (shape[_kept_axis(shape, slot)],) for slot in _FACTORS
                       if len(shape) == 2}  # fmt: skip
            return {"v": shape, "m": shape, "v_row": None, "v_col": None} | factors
        whole = self._opened.reader.specs[binding.foreign].shape
        labels = _labels(binding)
        factors = {
            slot: tuple(whole[labels.index(x)] for x in _factor_labels(binding, slot))
            for slot in _FACTORS
        }
        return {"v": whole, "m": whole} | factors

    def _shapes_here(self, path: str) -> dict[str, TensorSpec]:
        shape = self.shapes[path]
        used = {slot for slot in SLOT_NAMES if self._is_used(path, slot)}
        if "v_row" in used and _by_rule(self._bindings[path]) and min(shape) < MIN_FACTORED:
            used = used - set(_FACTORS) | {"v"}
        shapes = dict.fromkeys(("v", "m"), shape)
        if len(shape) == 2:
            shapes |= {slot: (shape[_kept_axis(shape, slot)],) for slot in _FACTORS}
        return {
            slot: TensorSpec(shapes[slot] if slot in used else (1,), DTYPES["float32"])
            for slot in SLOT_NAMES
        }


def written_slot(
    reader: SlotReader,
    slot: str,
    *,
    paths: Sequence[str],
    transform: Transform,
    num_heads: int,
) -> np.ndarray:
    """Returns one slot as another layout wants it.

    Args:
      reader: the source's slots.
      slot: one of `SLOT_NAMES`, of the layout to write.
      paths: the parameter, or those of all layers if the layout stacks them.
      transform: how the layout's parameter differs from T5X's unscanned one.
      num_heads: of the model.
    """
    binding, letters = Binding(paths[0], "", transform), _letters(paths[0])
    if not _by_rule(binding):
        return reader.read(paths[0], slot)
    factored = len(letters) == 2 and "D" in letters
    if (slot == "v") if factored else (slot in _FACTORS):
        return UNUSED
    if slot not in _FACTORS:
        if reader.specs[paths[0]][slot].shape == (1,):
            return UNUSED
        return to_foreign([reader.read(p, slot) for p in paths], transform, num_heads=num_heads)
    axis = letters.index("D")
    kept = axis if slot == "v_row" else 1 - axis
    layers = [_along(reader, path, kept) for path in paths]
    labels = _factor_labels(binding, slot)
    if "H" in labels:
        layers = [layer.reshape(num_heads, -1) for layer in layers]
    return np.stack(layers, axis=labels.index("L")) if "L" in labels else layers[0]


def _along(reader: SlotReader, path: str, axis: int) -> np.ndarray:
    """Returns the second moments of a matrix averaged over the other axis."""
    for slot in _FACTORS:
        spec = reader.specs[path][slot]
        shape = reader.shapes[path]
        if spec.shape != (1,) and _kept_axis(shape, slot) == axis:
            return reader.read(path, slot)
    return reader.read(path, "v").mean(axis=1 - axis)


def _kept_axis(shape: tuple[int, ...], slot: str) -> int:
    """Returns the axis of a matrix that a slot keeps: `v_row` the smaller, the first of equals."""
    return int(np.argsort(shape, kind="stable")[0 if slot == "v_row" else 1])


def _by_rule(binding: Binding) -> bool:
    """Tells whether T5X factors a parameter by its axes' names rather than their sizes."""
    return binding.transform.stacked or binding.transform in _JOINS


def _letters(path: str) -> str:
    return TEMPLATES[re.sub(r"layers_\d+", "layers_{i}", path)]


def _labels(binding: Binding) -> str:
    """Returns a letter for each axis of the foreign tensor, L for the layer."""
    letters = _letters(binding.path)
    if binding.transform in _JOINS:
        letters = letters.replace("J", "HK")
    return letters[0] + "L" + letters[1:] if binding.transform.stacked else letters


def _factor_labels(binding: Binding, slot: str) -> str:
    labels = _labels(binding)
    if slot == "v_row":
        return "".join(x for x in labels if x in "DL")
    return labels.replace("D", "")
