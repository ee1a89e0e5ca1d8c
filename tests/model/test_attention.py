import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.attention import attend
from nmt5.model.masks import MASKED, Mask, decoder_mask

B, T, S, H, K = 2, 5, 7, 3, 4


def example(dtype):
    keys = jax.random.split(jax.random.key(0), 5)
    query = jax.random.normal(keys[0], (B, T, H, K)).astype(dtype)
    key, value = (jax.random.normal(k, (B, S, H, K)).astype(dtype) for k in keys[1:3])
    bias = jax.random.normal(keys[3], (H, T, S)).astype(dtype)
    mask = jnp.where(jax.random.bernoulli(keys[4], 0.6, (B, 1, T, S)), 0.0, MASKED)
    return query, key, value, bias, mask.at[0, :, 1].set(MASKED)  # one row of padding


def plain(query, key, value, bias, mask):
    """The equation, one head and row at a time, in float32."""
    query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    rows = []
    for b in range(B):
        heads = []
        for h in range(H):
            scores = query[b, :, h] @ key[b, :, h].T + mask[b, 0]
            if bias is not None:
                scores += bias[h].astype(jnp.float32)
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
            heads.append(weights / weights.sum(axis=-1, keepdims=True) @ value[b, :, h])
        rows.append(jnp.stack(heads, axis=1))
    return jnp.stack(rows)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype,bound", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_values_and_gradients_equal_the_equation(with_bias, dtype, bound):
    query, key, value, bias, mask = example(dtype)
    seed = jax.random.normal(jax.random.key(1), (B, T, H, K))

    def through(function):
        def total(query, key, value, bias):
            out = function(query, key, value, bias if with_bias else None, mask)
            return jnp.sum(out.astype(jnp.float32) * seed), out

        return jax.jit(jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True))(query, key, value, bias)

    def ours(query, key, value, bias, mask):
        terms_only = Mask(mask, None, None)
        return attend(query, key_BSHK=key, value_BSHK=value, bias_HTS=bias, mask=terms_only)

    grads, out = through(ours)
    expected_grads, expected = through(plain)
    assert out.dtype == dtype
    for found, wanted in zip((out, *grads), (expected, *expected_grads)):
        found, wanted = np.asarray(found, np.float32), np.asarray(wanted, np.float32)
        assert np.abs(found - wanted).max() <= bound * max(np.abs(wanted).max(), 1e-30)


@pytest.mark.parametrize("length", [256, 300])
def test_later_keys_may_be_left_out_where_the_mask_hides_them(length):
    """Two packed segments and padding; queries that see nothing have no value to compare."""
    keys = jax.random.split(jax.random.key(0), 5)
    query, key, value, seed = (jax.random.normal(k, (B, length, H, K)) for k in keys[:4])
    bias = jax.random.normal(keys[4], (H, length, length))
    tokens = jnp.ones((B, length), jnp.int32).at[1, -40:].set(0)
    segments = jnp.ones_like(tokens).at[:, 100:].set(2)
    mask = decoder_mask(tokens, segment_ids_BT=segments)
    real = (tokens > 0)[:, :, None, None]

    def through(causal):
        def total(query, key, value, bias):
            out = attend(
                query,
                key_BSHK=key,
                value_BSHK=value,
                bias_HTS=bias,
                mask=mask.replace(causal=causal),
            )
            return jnp.sum(out * seed * real), out * real

        grads, out = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True))(
            query, key, value, bias
        )
        return out, *grads

    for found, wanted in zip(through(True), through(False), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
