"""Adafactor equals the published rule, written here in NumPy, and optax's own composition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmt5.core.errors import ConfigError
from nmt5.training.optimizer import (
    OptimizerConfig,
    init_optimizer,
    optimizer_shardings,
    update_params,
)

SHAPES = {"wide": (130, 200), "tall": (260, 128), "thin": (4, 300), "scale": (150,)}


_update = functools.partial(update_params, loss=jnp.float32(1.0))


def _values(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {n: (scale * rng.standard_normal(s)).astype(np.float32) for n, s in SHAPES.items()}


def _numpy_update(g, slots, p, *, t, rate, beta1=None):
    """The rule as the paper writes it, in float64. `slots` is changed."""
    g, p = np.float64(g), np.float64(p)
    decay = 1 - t**-0.8
    squared = g**2 + 1e-30
    if p.ndim == 2 and min(p.shape) >= 128:
        rows = decay * slots.get("rows", 0) + (1 - decay) * squared.mean(axis=1)
        columns = decay * slots.get("columns", 0) + (1 - decay) * squared.mean(axis=0)
        slots.update(rows=rows, columns=columns)
        v = np.outer(rows, columns) / rows.mean()
    else:
        v = slots["v"] = decay * slots.get("v", 0) + (1 - decay) * squared
    u = g / np.sqrt(v)
    u /= max(1.0, np.sqrt((u**2).mean()))
    u *= rate * max(np.sqrt((p**2).mean()), 1e-3)
    if beta1 is not None:
        u = slots["m"] = beta1 * slots.get("m", 0) + (1 - beta1) * u
    return p - u


@pytest.mark.parametrize("beta1", [None, 0.9])
def test_equals_the_rule_in_numpy(beta1):
    config = OptimizerConfig(warmup_steps=2, learning_rate=0.1, beta1=beta1)
    params = _values(0, scale=0.05) | {"scale": np.zeros(150, np.float32)}
    expected = {name: np.float64(value) for name, value in params.items()}
    slots = {name: {} for name in SHAPES}
    state = init_optimizer(params, config=config)
    for step in range(5):
        grads = _values(step + 1, scale=10.0**-step)
        update = _update(grads, state, params, step=jnp.int32(step), config=config)
        params, state = update.params, update.state
        squares = sum(float(np.sum(np.square(np.float64(grad)))) for grad in grads.values())
        assert float(update.grad_norm) == pytest.approx(squares**0.5, rel=1e-6)
        assert bool(update.is_made)
        for name in SHAPES:
            expected[name] = _numpy_update(
                grads[name],
                slots[name],
                expected[name],
                t=step + 1,
                rate=0.1 / max(step, 2) ** 0.5,
                beta1=beta1,
            )
            np.testing.assert_allclose(params[name], expected[name], rtol=2e-5, atol=2e-7)
    assert int(state["count"]) == 5
    # T5X's names: v_row drops the largest axis, which for a tall kernel is the first.
    np.testing.assert_allclose(state["v_row"]["wide"], slots["wide"]["rows"], rtol=1e-5)
    np.testing.assert_allclose(state["v_row"]["tall"], slots["tall"]["columns"], rtol=1e-5)
    assert state["v"]["wide"].shape == state["v_col"]["thin"].shape == (1,)
    if beta1 is not None:  # with T5X's sign
        np.testing.assert_allclose(state["m"]["wide"], slots["wide"]["m"], rtol=2e-5, atol=1e-8)


def test_equals_optax_adafactor():
    config = OptimizerConfig(warmup_steps=3, learning_rate=0.1, beta1=0.9)
    ours = theirs = _values(0, scale=0.05)
    state = init_optimizer(ours, config=config)
    reference = optax.adafactor(config.rate, momentum=0.9)
    reference_state = reference.init(theirs)
    for step in range(4):
        grads = _values(step + 1)
        ours, state, *_ = _update(grads, state, ours, step=jnp.int32(step), config=config)
        updates, reference_state = reference.update(grads, reference_state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    for name in SHAPES:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-8)


def test_rate_follows_the_step_and_its_offset_not_the_count():
    config = OptimizerConfig(schedule_offset_steps=1_000_000)
    assert float(config.rate(0)) == pytest.approx(1e-3)
    assert float(OptimizerConfig().rate(0)) == pytest.approx(1e-2)
    params = {"scale": np.ones(4, np.float32)}
    state = init_optimizer(params, config=config)
    after, *_ = _update(
        {"scale": np.ones(4, np.float32)}, state, params, step=jnp.int32(0), config=config
    )
    np.testing.assert_allclose(after["scale"], 1 - 1e-3, rtol=1e-6)


def test_absolute_rate_and_no_clipping():
    config = OptimizerConfig(
        schedule="constant",
        learning_rate=0.5,
        multiply_by_parameter_scale=False,
        clipping_threshold=None,
    )
    params = {"scale": np.full(4, 3.0, np.float32)}
    state = init_optimizer(params, config=config)
    grads = {"scale": np.array([1, -1, 2, 4], np.float32)}
    after, *_ = _update(grads, state, params, step=jnp.int32(9), config=config)
    np.testing.assert_allclose(after["scale"], [2.5, 3.5, 2.5, 2.5], rtol=1e-6)


@pytest.mark.parametrize("loss", [1.0, np.inf, np.nan])
@pytest.mark.parametrize("entry", [1.0, np.inf, np.nan, 1e30])  # the square of 1e30 is infinite
@pytest.mark.parametrize("where", ["wide", "scale"])
def test_numbers_that_are_not_finite_change_nothing(loss, entry, where):
    params, grads = _values(0), _values(1)
    grads[where].reshape(-1)[7] = entry
    config = OptimizerConfig()
    state = init_optimizer(params, config=config)
    update = update_params(
        grads, state, params, step=jnp.int32(0), loss=jnp.float32(loss), config=config
    )
    is_good = entry == 1.0 and loss == 1.0
    assert bool(update.is_made) == is_good
    assert bool(jnp.isfinite(update.grad_norm)) == (entry == 1.0)
    kept = jax.tree.map(
        lambda new, old: bool((new == old).all()),
        (update.params, update.state),
        (params, state),
    )
    assert all(jax.tree.leaves(kept)) != is_good


def test_slots_lie_beside_their_parameters():
    mesh = jax.make_mesh((2, 4), ("fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def named(*spec):
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))

    shardings = {
        "wide": named("fsdp", "tensor"),
        "tall": named("fsdp", "tensor"),
        "thin": named("tensor"),
        "scale": named(),
    }
    config = OptimizerConfig(beta1=0.9)
    found = optimizer_shardings(_values(0), shardings, config=config, replicated=named())
    specs = jax.tree.map(lambda s: tuple(s.spec), found)
    assert specs["v_row"] == {"wide": ("fsdp",), "tall": ("tensor",), "thin": (), "scale": ()}
    assert specs["v_col"] == {"wide": ("tensor",), "tall": ("fsdp",), "thin": (), "scale": ()}
    assert specs["v"] == {"wide": (), "tall": (), "thin": ("tensor",), "scale": ()}
    assert specs["m"]["wide"] == ("fsdp", "tensor")
    assert specs["count"] == ()


def test_config_lists_all_faults():
    with pytest.raises(ConfigError) as error:
        OptimizerConfig(schedule="inverse_sqrt", learning_rate=-1.0, beta1=1.0)
    message = str(error.value)
    assert "nearest: 'inverse_square_root'" in message
    assert "learning_rate is -1.0" in message
    assert "beta1 is 1.0" in message


@pytest.mark.parametrize(("settings", "wanted"), [({}, True), ({"beta1": 0.9}, True), ({}, False)])
def test_layers_together_get_what_each_gets_alone(settings, wanted):
    """Twelve layers, so that their order as text (0, 1, 10, 11, 2 ...) would be seen."""
    config = OptimizerConfig(schedule="constant", learning_rate=0.01, **settings)
    rng = np.random.default_rng(0)
    # A kernel that is not small, so that it is updated alone where layers are not together.
    shapes = {"kernel": (250, 270), "scale": (250,)}

    def values(scale):
        layers = {
            f"layers_{i}": {
                name: (scale * (i + 1) * rng.standard_normal(shape)).astype(np.float32)
                for name, shape in shapes.items()
            }
            for i in range(12)
        }
        return {"encoder": layers | {"norm": {"scale": np.ones(250, np.float32)}}}

    # Parameters far from 0, where a sum that cancels would be compared by its rounding.
    params, grads = jax.tree.map(lambda p: 2.0 + np.abs(p), values(0.1)), values(1.0)
    update = functools.partial(
        update_params, step=jnp.int32(0), config=config, loss=jnp.float32(1.0 if wanted else np.inf)
    )
    alone = together = (params, init_optimizer(params, config=config))
    for _ in range(2):
        alone = update(grads, alone[1], alone[0])
        together = update(grads, together[1], together[0], layers_together=True)
    assert jax.tree.structure(alone) == jax.tree.structure(together)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), alone, together
    )
    moved = np.abs(
        together[0]["encoder"]["layers_10"]["kernel"] - params["encoder"]["layers_10"]["kernel"]
    )
    assert (moved.max() > 0) == wanted
