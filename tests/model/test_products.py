import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.products import einsum_float32, project, sum_over_rows


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(3, 5, 8), (15, 8), (2, 3, 5, 8)])
def test_projection_and_its_gradients(dtype, shape):
    keys = jax.random.split(jax.random.key(2), 3)
    inputs, kernel = (jax.random.normal(k, s).astype(dtype) for k, s in zip(keys, (shape, (8, 6))))
    seed = jax.random.normal(keys[2], (*shape[:-1], 6))

    def total(product):
        def of(inputs, kernel):
            return jnp.sum(product(inputs, kernel).astype(jnp.float32) * seed)

        return jax.jit(jax.value_and_grad(of, argnums=(0, 1)))(inputs, kernel)

    for found, wanted in zip(
        jax.tree.leaves(total(project)), jax.tree.leaves(total(jnp.matmul)), strict=True
    ):
        assert found.dtype == wanted.dtype
        found, wanted = np.asarray(found, np.float32), np.asarray(wanted, np.float32)
        bound = 1e-5 if dtype == "float32" else 2e-2
        np.testing.assert_allclose(found, wanted, atol=bound * np.abs(wanted).max())
