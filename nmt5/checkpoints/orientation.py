"""How tensors of other formats lie: transposed, with heads apart, or with all layers stacked."""

from collections.abc import Sequence
import enum

import numpy as np


class Transform(enum.Enum):
    """How a foreign tensor becomes a T5X one."""

    SAME = "same"
    TRANSPOSE = "transpose"
    JOIN_LAST = "heads joined, (D, H, K) to (D, J)"
    JOIN_FIRST = "heads joined, (H, K, D) to (J, D)"
    # Stacked: axis 1 of the foreign tensor is the layer.
    LAYER = "layer of axis 1"
    LAYER_JOIN_LAST = "layer of axis 1, (D, L, H, K) to (D, J)"
    LAYER_JOIN_FIRST = "layer of axis 1, (H, L, K, D) to (J, D)"

    @property
    def stacked(self) -> bool:
        """Whether one foreign tensor holds all layers."""
        return self.name.startswith("LAYER")


def to_t5x(values: np.ndarray, transform: Transform, *, layer: int = 0) -> np.ndarray:
    """Returns the T5X tensor held in a foreign one; a view where possible.

    Args:
      values: the foreign tensor.
      transform: how the two differ.
      layer: which layer to take of a stacked tensor.
    """
    if transform is Transform.SAME:
        return values
    if transform is Transform.TRANSPOSE:
        return values.T
    if transform.stacked:
        values = values[:, layer]
    if transform in (Transform.JOIN_LAST, Transform.LAYER_JOIN_LAST):
        return values.reshape(values.shape[0], -1)
    if transform in (Transform.JOIN_FIRST, Transform.LAYER_JOIN_FIRST):
        return values.reshape(-1, values.shape[-1])
    return values


def to_foreign(layers: Sequence[np.ndarray], transform: Transform, *, num_heads: int) -> np.ndarray:
    """Returns the foreign tensor made of one T5X tensor, or of those of all layers.

    Args:
      layers: one array, or one per layer where the transform is stacked.
      transform: how the two differ.
      num_heads: H, to split a joined axis.
    """
    if transform is Transform.SAME:
        return layers[0]
    if transform is Transform.TRANSPOSE:
        return layers[0].T
    if transform in (Transform.JOIN_LAST, Transform.LAYER_JOIN_LAST):
        split = [x.reshape(x.shape[0], num_heads, -1) for x in layers]
    elif transform in (Transform.JOIN_FIRST, Transform.LAYER_JOIN_FIRST):
        split = [x.reshape(num_heads, -1, x.shape[-1]) for x in layers]
    else:
        split = list(layers)
    return np.stack(split, axis=1) if transform.stacked else split[0]


def foreign_shape(
    shape: tuple[int, ...], transform: Transform, *, num_heads: int, num_layers: int
) -> tuple[int, ...]:
    """Returns the shape that `to_foreign` gives, without data."""
    # A broadcast scalar has the shape and no memory.
    one = np.broadcast_to(np.zeros((), np.int8), shape)
    if transform.stacked:
        rest = {
            Transform.LAYER: shape,
            Transform.LAYER_JOIN_LAST: (shape[0], num_heads, shape[-1] // num_heads),
            Transform.LAYER_JOIN_FIRST: (num_heads, shape[0] // num_heads, shape[-1]),
        }[transform]
        return (rest[0], num_layers, *rest[1:])
    return to_foreign([one], transform, num_heads=num_heads).shape


def t5x_shape(shape: tuple[int, ...], transform: Transform) -> tuple[int, ...]:
    """Returns the shape that `to_t5x` gives, of one layer.

    Raises:
      ValueError, IndexError: no tensor of this rank can be turned so.
    """
    if transform.stacked:
        shape = (shape[0], *shape[2:])
    if transform in (Transform.JOIN_LAST, Transform.LAYER_JOIN_LAST):
        d, h, k = shape
        return (d, h * k)
    if transform in (Transform.JOIN_FIRST, Transform.LAYER_JOIN_FIRST):
        h, k, d = shape
        return (h * k, d)
    return shape[::-1] if transform is Transform.TRANSPOSE else shape
