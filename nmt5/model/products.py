"""Matrix products and sums in the forms that the platforms compute fast or at all."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmt5.core.target import target_platform


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


def project(inputs: Float[Array, "... I"], kernel_IO: Float[Array, "I O"]) -> Float[Array, "... O"]:
    """Returns `inputs @ kernel_IO`, with a gradient that is fast on CPU too.

    Left to itself, JAX asks for the kernel's gradient as a product of two operands of which one
    lies transposed. XLA's CPU backend (jax 0.10.2) then works with slower code, or writes the wider
    operand down transposed and computes what leads to it again while it does so: 138 instead of
    163 Gflop/s for 1024 x 512 x 1024, and 83 ms for the transposed derivative of a gelu.

    Args:
      inputs: any leading axes.
      kernel_IO: float32, or the dtype of `inputs`.
    """
    if target_platform() != "cpu" or inputs.dtype != jnp.float32 or inputs.ndim < 2:
        return inputs @ kernel_IO
    rows = _project_rows(inputs.reshape(-1, inputs.shape[-1]), kernel_IO)
    return rows.reshape(*inputs.shape[:-1], kernel_IO.shape[1])


@jax.custom_vjp
def _project_rows(inputs_NI, kernel_IO):
    return inputs_NI @ kernel_IO


def _project_forward(inputs_NI, kernel_IO):
    return inputs_NI @ kernel_IO, (inputs_NI, kernel_IO)


def _project_backward(residuals, d_output_NO):
    inputs_NI, kernel_IO = residuals
    inputs_IN, d_output_NO = jax.lax.optimization_barrier((inputs_NI.T, d_output_NO))
    return d_output_NO @ kernel_IO.T, inputs_IN @ d_output_NO


_project_rows.defvjp(_project_forward, _project_backward)
