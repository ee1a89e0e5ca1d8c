"""The network equals T5X's on tiny models with packed rows; tests/golden/make_t5x_golden.py."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.model.config import ModelConfig
from nmt5.model.network import Transformer
from nmt5.model.parameters import param_shapes

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
FEATURES = (
    "inputs", "decoder_inputs", "targets", "encoder_segment_ids", "decoder_segment_ids",
)  # fmt: skip


@pytest.mark.parametrize("family", ["mt5", "t5_1_0", "t5_1_1", "byt5", "umt5"])
def test_logits_and_gradients_equal_t5x(family):
    with np.load(GOLDEN / f"t5x_{family}.npz") as file:
        golden = dict(file)
    config = ModelConfig.from_dict(json.loads(str(golden["config"])))
    params, expected_grads = (
        {name.removeprefix(kind): golden[name] for name in golden if name.startswith(kind)}
        for kind in ("params/", "grads/")
    )
    assert {path: array.shape for path, array in params.items()} == {
        path: leaf.shape for path, leaf in param_shapes(config).items()
    }
    inputs, decoder_inputs, targets, input_segments, target_segments = (
        golden[name] for name in FEATURES
    )
    real_BT = targets > 0

    def loss_and_logits(params):
        logits_BTV = Transformer(config).apply(
            {"params": params}, inputs, decoder_inputs, targets,
            encoder_segment_ids=input_segments, decoder_segment_ids=target_segments,
        )  # fmt: skip
        log_p_BTV = jax.nn.log_softmax(logits_BTV)
        chosen_BT = jnp.take_along_axis(log_p_BTV, targets[..., None], axis=-1)[..., 0]
        return -jnp.sum(chosen_BT * real_BT), logits_BTV

    with jax.default_matmul_precision("highest"):
        (loss, logits_BTV), grads = jax.jit(jax.value_and_grad(loss_and_logits, has_aux=True))(
            unflatten_paths(params)
        )
    gap = np.abs(logits_BTV - golden["logits"])[real_BT].max()
    assert gap <= 1e-5 * np.abs(golden["logits"])[real_BT].mean()
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-6)
    grads = flatten_paths(grads)
    assert set(grads) == set(expected_grads)
    for path, expected in expected_grads.items():
        assert np.abs(grads[path] - expected).max() <= 1e-4 * np.abs(expected).mean(), path
