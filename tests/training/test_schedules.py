"""Schedules at the places where they bend."""

import jax
import jax.numpy as jnp
import pytest

from nmt5.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", {0: 2.0, 100: 2.0, 1_000_000: 2.0}),
        ("linear_warmup", {0: 0.02, 49: 1.0, 99: 2.0, 1000: 2.0}),
        ("inverse_square_root", {0: 0.2, 100: 0.2, 400: 0.1, 1_000_000: 0.002}),
    ],
)
def test_values(name, expected):
    schedule = jax.jit(lambda step: SCHEDULES[name](step, base=2.0, warmup_steps=100))
    for step, rate in expected.items():
        assert float(schedule(jnp.int32(step))) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_warmup_is_finite_from_the_first_step(name):
    assert float(SCHEDULES[name](0, base=1.0, warmup_steps=0)) == 1.0
