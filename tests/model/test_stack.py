import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.checkpoints.param_paths import parameter_shapes
from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.model.config import model_config
from nmt5.model.network import Transformer
from nmt5.model.parameters import param_shapes

MT5 = model_config("tiny", num_decoder_layers=1)
UMT5 = model_config("tiny", relative_bias="per_layer", dtype="bfloat16", num_encoder_layers=1)


def params_of(config):
    rng = np.random.default_rng(0)
    return {
        path: rng.standard_normal(shape, np.float32) * shape[0] ** -0.5
        for path, shape in parameter_shapes(config).items()
    }


@functools.cache
def jitted(config):
    """Logits of a fixed batch with padding, and gradients of the sum of their squares."""
    inputs = jax.random.randint(jax.random.key(1), (2, 11), 3, 512).at[1, 7:].set(0)
    targets = jax.random.randint(jax.random.key(2), (2, 6), 3, 512)

    def loss(params, key):
        logits_BTV = Transformer(config).apply(
            {"params": params}, inputs, jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1], targets,
            enable_dropout=config.dropout_rate > 0, rngs={"dropout": key},
        )  # fmt: skip
        return jnp.sum(jnp.square(logits_BTV)), logits_BTV

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def logits_and_gradients(config, seed=0):
    params = unflatten_paths(params_of(config))
    (_, logits), grads = jitted(config)(params, jax.random.key(seed))
    return np.asarray(logits), flatten_paths(grads)


@pytest.mark.parametrize(
    ("config", "way"),
    [
        pytest.param(MT5, {"scan_layers": True, "remat": "full"}, marks=pytest.mark.slow),
        (MT5, {"remat": "minimal"}),
        (UMT5, {"scan_layers": True}),
    ],
    ids=["mt5_scan_full", "mt5_minimal", "umt5_bfloat16_scan"],
)
def test_logits_and_gradients_do_not_depend_on_the_way(config, way):
    expected, expected_grads = logits_and_gradients(config)
    found, grads = logits_and_gradients(dataclasses.replace(config, **way))
    # In bfloat16 XLA fuses, and so rounds, a loop otherwise than a straight program.
    tolerance = 1e-5 if config.dtype == "float32" else 0.03
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
    assert set(grads) == set(expected_grads)
    for path, gradient in expected_grads.items():
        gap = np.abs(grads[path] - gradient).max()
        assert gap < 10 * tolerance * np.abs(gradient).max(), path


def test_the_parameter_tree_is_the_same():
    expected = parameter_shapes(MT5)
    found = param_shapes(dataclasses.replace(MT5, scan_layers=True, remat="full"))
    assert {path: leaf.shape for path, leaf in found.items()} == expected


def test_dropout_differs_between_layers_and_seeds():
    config = dataclasses.replace(MT5, scan_layers=True, dropout_rate=0.5)
    first, grads = logits_and_gradients(config, 0)
    assert np.isfinite(first).all()
    assert not np.array_equal(first, logits_and_gradients(config, 1)[0])
    # A unit of the feed-forward block that is dropped in all rows has no gradient.
    dropped = [
        np.abs(grads[f"encoder/layers_{i}/mlp/wo/kernel"]).sum(axis=1) == 0 for i in range(2)
    ]
    assert dropped[0].any() and not np.array_equal(dropped[0], dropped[1])


def test_a_scanned_program_does_not_grow_with_depth():
    def program(num_layers):
        config = model_config(
            "tiny", scan_layers=True, num_encoder_layers=num_layers, num_decoder_layers=1
        )
        token = jnp.ones((1, 4), jnp.int32)
        params = unflatten_paths(param_shapes(config))
        apply = functools.partial(Transformer(config).apply, method="encode")
        return str(jax.make_jaxpr(lambda p: apply({"params": p}, token))(params))

    assert program(2).count("dot_general") == program(6).count("dot_general") > 0
