"""Numbers kept in bfloat16, and the optimizer whose statistics are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.errors import ConfigError
from nmt5.training.optimizer import OptimizerConfig, init_optimizer, update_params
from nmt5.training.rounding import round_at_random


def test_one_of_the_two_neighbours_in_proportion():
    value = jnp.float32(1.0 + 0.25 / 128)  # a quarter of the way to the next bfloat16
    found = np.asarray(
        round_at_random(jnp.full(40_000, value), jax.random.key(0)).astype(jnp.float32)
    )
    assert set(np.unique(found)) == {1.0, 1.0 + 1 / 128}
    assert (found > 1).mean() == pytest.approx(0.25, abs=0.01)


def test_what_bfloat16_holds_stays():
    values = jnp.array([0.0, -0.0, 1.5, -3.0, 1e-30, jnp.inf, -jnp.inf], jnp.float32)
    exact = values.astype(jnp.bfloat16).astype(jnp.float32)
    for seed in range(20):
        found = round_at_random(exact, jax.random.key(seed)).astype(jnp.float32)
        np.testing.assert_array_equal(found, exact)
    assert np.isnan(np.asarray(round_at_random(jnp.array([jnp.nan]), jax.random.key(0)), float))


def test_a_slow_mean_moves():
    """200 updates of 1/2000 each: nearest rounding would stay at 1."""
    mean = jnp.ones(2000, jnp.bfloat16)
    nearest = mean
    for step in range(200):
        moved = mean.astype(jnp.float32) + (2.0 - mean.astype(jnp.float32)) / 2000
        mean = round_at_random(moved, jax.random.key(step))
        nearest = (nearest.astype(jnp.float32) * (1 - 1 / 2000) + 2 / 2000).astype(jnp.bfloat16)
    assert float(nearest[0]) == 1.0
    assert float(mean.astype(jnp.float32).mean()) == pytest.approx(
        2 - (1 - 1 / 2000) ** 200, abs=0.01
    )


_DTYPES = {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.int32)}
_CONFIG = OptimizerConfig(
    schedule="constant", learning_rate=0.01, min_dim_size_to_factor=4, beta1=0.9
)


def test_optimizer_with_half_the_statistics():
    half = dataclasses.replace(_CONFIG, statistics_dtype="bfloat16")
    params = {"a": jax.random.normal(jax.random.key(0), (8, 16)), "b": jnp.ones(8)}
    whole_state, half_state = (init_optimizer(params, config=c) for c in (_CONFIG, half))
    assert {leaf.dtype for leaf in jax.tree.leaves(half_state)} == _DTYPES
    whole, other = params, params
    updates = [
        jax.jit(lambda g, s, p, i, c=c: update_params(g, s, p, step=i, loss=p["b"][0], config=c))
        for c in (_CONFIG, half)
    ]
    for step in range(30):
        grads = jax.tree.map(
            lambda p, step=step: jax.random.normal(jax.random.key(step), p.shape), params
        )
        whole, whole_state, *_ = updates[0](grads, whole_state, whole, step)
        other, half_state, *_ = updates[1](grads, half_state, other, step)
    assert {leaf.dtype for leaf in jax.tree.leaves(half_state)} == _DTYPES
    assert other["a"].dtype == jnp.float32
    moved = np.abs(np.asarray(whole["a"] - params["a"])).max()
    assert np.abs(np.asarray(whole["a"] - other["a"])).max() < 0.05 * moved
    assert np.abs(np.asarray(whole["a"] - other["a"])).max() > 0


def test_unknown_dtype():
    with pytest.raises(ConfigError, match="unknown statistics_dtype 'bf16'; nearest: 'bfloat16'"):
        OptimizerConfig(statistics_dtype="bf16")
