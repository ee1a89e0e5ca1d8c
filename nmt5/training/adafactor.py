"""Adafactor's update of one parameter, in few passes over it.

For a gradient g of a parameter p, with slots v (one number for each entry) or, if the two largest
axes are long enough, the means of g^2 over either of them (`v_row`, `v_col`):

    v = d v + (1 - d) (g^2 + eps)        u = g / sqrt(v)        u = u / max(1, RMS(u) / threshold)
    update = -rate max(RMS(p), scale_min) u

It is what optax's `scale_by_factored_rms`, `clip_by_block_rms`, `scale` and
`scale_by_param_block_rms` do one after the other (the tests compare them). A head of 512 x 250,112
took 1.3 s of two CPU cores in that chain (jax 0.10.2): XLA sums over a leading axis with one thread
and long strides, which `sum_of_squares` avoids.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from nmt5.core import axes
from nmt5.core.target import num_parts_of, target_platform

_GROUP = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SomeRows:
    """A gradient or update of a table (V, D) that is 0 but for some of its rows.

    Attributes:
      ids_U: which rows, ascending and all different; V and above stand for no row.
      rows_UD: their values.
    """

    ids_U: Int[Array, "U"]
    rows_UD: Float[Array, "U D"]

    def added_to(
        self, table_VD: Float[Array, "V D"], *, wanted: Bool[Array, ""]
    ) -> Float[Array, "V D"]:
        """Returns the table with these values added where `wanted`; other rows are not touched."""
        old_UD = table_VD.at[self.ids_U].get(mode="fill", fill_value=0.0)
        new_UD = jnp.where(wanted, old_UD + self.rows_UD, old_UD)
        return table_VD.at[self.ids_U].set(
            new_UD, mode="drop", indices_are_sorted=True, unique_indices=True
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Slots:
    """Second moments of one parameter; those that it does not use have shape (1,).

    Attributes:
      v_row: means without the largest axis.
      v_col: means without the second largest axis.
      v: of every entry.
    """

    v_row: Float[Array, "..."]
    v_col: Float[Array, "..."]
    v: Float[Array, "..."]


def factored_axes(shape: tuple[int, ...], *, min_size: int) -> tuple[int, int] | None:
    """Returns the second largest and largest axis, or None if the former is below `min_size`."""
    if len(shape) < 2:
        return None
    second, largest = (int(axis) for axis in np.argsort(shape)[-2:])
    return (second, largest) if shape[second] >= min_size else None


def scaled_update(
    grad: Float[Array, "..."] | SomeRows,
    slots: Slots,
    param: Float[Array, "..."],
    *,
    decay: Float[Array, ""],
    rate: Float[Array, ""],
    epsilon: float,
    min_size: int,
    clipping_threshold: float | None,
    min_parameter_scale: float | None,
) -> tuple[Float[Array, "..."] | SomeRows, Slots, Float[Array, ""]]:
    """Returns what is to be added to a parameter, its new slots, and the sum of the squared g.

    Args:
      grad: its gradient; `SomeRows` only of a parameter with factored moments.
      slots: its second moments.
      param: the parameter.
      decay: d above.
      rate: the learning rate.
      epsilon: eps above.
      min_size: both largest axes must have this size for factored moments.
      clipping_threshold: largest RMS of u; None does not clip.
      min_parameter_scale: smallest scale of a parameter; None makes `rate` absolute.
    """
    found = factored_axes(param.shape, min_size=min_size)
    if found is None:
        squares = jnp.square(grad)
        total = jnp.sum(squares)
        v = decay * slots.v + (1.0 - decay) * (squares + epsilon)
        new, direction = dataclasses.replace(slots, v=v), grad * jax.lax.rsqrt(v)
    else:
        second, largest = found

        def moved(old, sums, axis):
            return decay * old + (1.0 - decay) * (sums / param.shape[axis] + epsilon)

        # Barriers keep the passes apart: XLA would write down the squares that they share. It would
        # do so too after making one sum over all entries of `total`.
        row_sums = _sum_of_squares(jax.lax.optimization_barrier(grad), largest, param.shape)
        row_sums = jax.lax.optimization_barrier(row_sums)
        total = jnp.sum(row_sums)
        v_row = moved(slots.v_row, row_sums, largest)
        again, v_row = jax.lax.optimization_barrier((grad, v_row))
        v_col = moved(slots.v_col, _sum_of_squares(again, second, param.shape), second)
        new = dataclasses.replace(slots, v_row=v_row, v_col=v_col)
        without_largest = second - 1 if second > largest else second
        mean = jnp.mean(v_row, axis=without_largest, keepdims=True)
        by_row, by_column = jax.lax.rsqrt(v_row / mean), jax.lax.rsqrt(v_col)
        direction = _direction(grad, by_row, by_column, found)
    factor = -rate
    if clipping_threshold is not None:
        once_more = direction
        if found is not None:
            apart = jax.lax.optimization_barrier((grad, by_row, by_column))
            once_more = _direction(*apart, found)
        factor /= jnp.maximum(1.0, _rms(once_more, param.size) / clipping_threshold)
    if min_parameter_scale is not None:
        factor *= jnp.maximum(_rms(param, param.size), min_parameter_scale)
    if isinstance(direction, SomeRows):
        return dataclasses.replace(direction, rows_UD=factor * direction.rows_UD), new, total
    return factor * direction, new, total


def parameters_are_whole() -> bool:
    """Returns whether every device of the program under construction has whole parameters."""
    return all(num_parts_of(name) == 1 for name in (axes.EMBED, axes.VOCAB, axes.MLP))


def sum_of_squares(array: Float[Array, "..."], *, axis: int) -> Float[Array, "..."]:
    """Returns the sum of squares over one axis.

    Over the first axis of a large matrix on one CPU a few rows are added at a time: 0.05 s for
    512 x 250,112 where `jnp.sum` took 2.9 (jax 0.10.2, 2 cores, beside other load).

    Args:
      array: any shape.
      axis: the axis that goes away.
    """
    slow = axis == 0 and array.ndim == 2 and array.shape[1] > 16_384
    if not (
        slow
        and parameters_are_whole()
        and target_platform() == "cpu"
        and array.shape[0] % _GROUP == 0
    ):
        return jnp.sum(jnp.square(array), axis=axis)

    def add(i, total):
        rows = jax.lax.dynamic_slice_in_dim(array, i * _GROUP, _GROUP, axis=0)
        for row in rows:
            total = total + row * row
        return total

    zeros = jnp.zeros(array.shape[1:], array.dtype)
    return jax.lax.fori_loop(0, array.shape[0] // _GROUP, add, zeros)


def _sum_of_squares(grad, axis, shape):
    if not isinstance(grad, SomeRows):
        return sum_of_squares(grad, axis=axis)
    squares_UD = jnp.square(grad.rows_UD)
    if axis == 0:
        return jnp.sum(squares_UD, axis=0)
    return jnp.zeros(shape[0]).at[grad.ids_U].set(jnp.sum(squares_UD, axis=1), mode="drop")


def _direction(grad, by_row, by_column, found):
    second, largest = found
    factors = jnp.expand_dims(by_row, largest), jnp.expand_dims(by_column, second)
    if not isinstance(grad, SomeRows):
        return grad * factors[0] * factors[1]
    of_width_1D, of_row_V1 = sorted(factors, key=lambda factor: factor.shape[1], reverse=True)
    of_row_U1 = of_row_V1.at[grad.ids_U].get(mode="fill", fill_value=0.0)
    return dataclasses.replace(grad, rows_UD=grad.rows_UD * of_width_1D * of_row_U1)


def _rms(array, size):
    values = array.rows_UD if isinstance(array, SomeRows) else array
    return jnp.sqrt(jnp.sum(jnp.square(values)) / size)
