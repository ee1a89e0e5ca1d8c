"""Storing float32 numbers in bfloat16 so that a running mean still moves."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, BFloat16, Float32, Key


def round_at_random(values: Float32[Array, "..."], key: Key[Array, ""]) -> BFloat16[Array, "..."]:
    """Returns bfloat16 numbers whose expectation is that of the values.

    bfloat16 keeps 8 bits: a mean that changes by less than 1/512 at an update, as Adafactor's do
    after some thousand, would never change if it were rounded to the nearest. Rounded up with the
    probability of the part that is cut off, it moves by the right amount on average.

    Args:
      values: any shape; those that are not finite stay as they are.
      key: randomness, another one at each update.
    """
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    noise = jax.random.bits(key, values.shape, jnp.uint16).astype(jnp.uint32)
    cut = jax.lax.bitcast_convert_type((bits + noise) & jnp.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(values), cut, values).astype(jnp.bfloat16)
