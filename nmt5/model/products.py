"""Matrix products of half-precision operands with float32 sums."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def einsum_float32(
    equation: str, left: Float[Array, "..."], right: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns `jnp.einsum(equation, left, right)` summed and returned in float32.

    XLA's CPU backend (jax 0.10.2) refuses bfloat16 x bfloat16 = float32 products in some shapes
    ("Unsupported element type for DotThunk"), so there the operands are widened first: the same
    numbers, as a product of two bfloat16 values is exact in float32.

    Args:
      equation: an einsum equation of two operands.
      left: first operand, any float dtype.
      right: second operand, of the same dtype.

    Returns:
      The product, float32.
    """
    product = functools.partial(jnp.einsum, equation, preferred_element_type=jnp.float32)
    if left.dtype == jnp.float32 and right.dtype == jnp.float32:
        return product(left, right)
    return jax.lax.platform_dependent(
        left,
        right,
        cpu=lambda a, b: product(a.astype(jnp.float32), b.astype(jnp.float32)),
        default=product,
    )


def sum_over_rows(array: Float[Array, "B *rest"]) -> Float[Array, "*rest"]:
    """Returns the sum over the first axis of a float32 array.

    On CPU as a product with ones: XLA's reduction over a leading axis took 27 ms for 4 x 6 x 512 x
    512 where the product takes 2.4 (jax 0.10.2, 2 cores).
    """

    def by_product(array):
        ones_1B = jnp.ones((1, array.shape[0]), array.dtype)
        return (ones_1B @ array.reshape(array.shape[0], -1)).reshape(array.shape[1:])

    return jax.lax.platform_dependent(
        array, cpu=by_product, default=lambda array: jnp.sum(array, axis=0)
    )
