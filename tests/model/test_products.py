import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.products import einsum_float32, sum_over_rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_product_is_summed_in_float32(dtype):
    keys = jax.random.split(jax.random.key(0), 2)
    left, right = (jax.random.normal(k, (64, 16)).astype(dtype) for k in keys)
    found = jax.jit(lambda a, b: einsum_float32("nd,md->nm", a, b))(left, right)
    assert found.dtype == jnp.float32
    exact = np.asarray(left, np.float64) @ np.asarray(right, np.float64).T
    np.testing.assert_allclose(found, exact, atol=1e-5)


def test_sum_over_rows():
    array = jax.random.normal(jax.random.key(1), (5, 2, 3))
    np.testing.assert_allclose(sum_over_rows(array), np.asarray(array).sum(axis=0), atol=1e-6)
