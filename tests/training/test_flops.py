"""The count against the compiler's, and against a hand calculation."""

import types

import jax
import jax.numpy as jnp
import pytest

from nmt5.model.config import model_config
from nmt5.model.network import Transformer
from nmt5.training import flops


def _shape(rows, inputs_length, targets_length):
    return types.SimpleNamespace(
        rows=rows, inputs_length=inputs_length, targets_length=targets_length
    )


def test_by_hand():
    """d 2, i 4, f 3, V 5, one layer each, Te 7, Td 11, worked out term by term."""
    config = model_config(
        "tiny",
        emb_dim=2,
        num_heads=2,
        head_dim=2,
        mlp_dim=3,
        vocab_size=5,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    projections = 2 * (7 * (32 + 18) + 11 * (48 + 18) + 7 * 16)
    attention = 4 * 49 * 4 + 2 * 121 * 4 + 4 * 77 * 4
    forward = projections + attention + 2 * 11 * 2 * 5
    assert flops.forward_flops(config, inputs_length=7, targets_length=11) == forward
    layout = {"a": _shape(3, 7, 11), "b": _shape(1, 7, 11)}
    assert flops.train_flops(config, layout) == 3 * 4 * forward
    assert flops.positions(layout) == 4 * (7 + 11)


def test_near_the_compilers_count():
    """XLA counts the same products, the whole causal square, and a few per cent of other work."""
    config = model_config("tiny", emb_dim=128, num_heads=4, head_dim=32, mlp_dim=256)
    model = Transformer(config)
    inputs, targets = jnp.ones((1, 96), jnp.int32), jnp.ones((1, 64), jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs, targets, targets)
    params = {"params": variables["params"]}
    compiled = jax.jit(model.apply).lower(params, inputs, targets, targets).compile()
    counted = flops.forward_flops(config, inputs_length=96, targets_length=64)
    assert 1.0 < compiled.cost_analysis()["flops"] / counted < 1.1


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("unheard of", None),
    ],
)
def test_peak_of_known_accelerators(kind, peak):
    device = types.SimpleNamespace(platform="gpu", device_kind=kind)
    found = flops.peak_flops_per_second([device, device])
    assert found == (None if peak is None else 2 * peak)


def test_cpu_peak_is_measured():
    assert flops.measured_matmul_flops_per_second(size=256) > 1e8
