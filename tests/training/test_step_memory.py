import types

import jax
import jax.numpy as jnp
import pytest

from nmt5.training.step_memory import LARGE_BYTES, runs_alone


@jax.jit
def twice_sorted(numbers):
    """A program that needs at least one array beside its input and its output."""
    return jnp.sum(jnp.sort(numbers[::-1]) * jnp.cumsum(numbers))


@pytest.mark.parametrize(("bytes_", "large"), [(LARGE_BYTES // 64, False), (LARGE_BYTES, True)])
def test_large_temporary_arrays_on_a_cpu_are_waited_for(bytes_, large):
    numbers = jax.ShapeDtypeStruct((bytes_ // 4,), jnp.float32)
    compiled = twice_sorted.lower(numbers).compile()
    assert runs_alone(compiled, device=jax.devices("cpu")[0]) == large
    assert not runs_alone(compiled, device=types.SimpleNamespace(platform="gpu"))
