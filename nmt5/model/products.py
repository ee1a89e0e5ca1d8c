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
