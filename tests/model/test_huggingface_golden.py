"""The network equals transformers on tiny models; tests/golden/make_huggingface_golden.py."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.model.config import ModelConfig
from nmt5.model.losses import head_cross_entropy
from nmt5.model.network import Transformer
from nmt5.model.parameters import head_layout, head_scale, output_head, param_shapes

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
FAMILIES = ("mt5", "t5_1_0", "t5_1_1", "byt5", "umt5")


def load(family):
    with np.load(GOLDEN / f"huggingface_{family}.npz") as arrays:
        golden = {name: arrays[name] for name in arrays.files}
    parts = {"params": {}, "grads": {}}
    for name in list(golden):
        kind, _, path = name.partition("/")
        if path:
            parts[kind][path] = golden.pop(name)
    config = ModelConfig.from_dict(json.loads(str(golden["config"])))
    return config, golden, parts["params"], parts["grads"]


def relative_error(ours, theirs, mask=None):
    difference = np.abs(np.asarray(ours) - theirs)
    if mask is not None:
        difference, theirs = difference[mask], theirs[mask]
    return difference.max() / np.abs(theirs).mean()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_equal_transformers(family):
    config, golden, params, expected_grads = load(family)
    assert {p: a.shape for p, a in params.items()} == {
        p: s.shape for p, s in param_shapes(config).items()
    }
    model, tokens = Transformer(config), (golden["inputs"], golden["decoder_inputs"])
    targets, real = golden["targets"], golden["targets"] > 0

    def loss_and_hidden(params):
        hidden_BTD = model.apply({"params": params}, *tokens, targets, method="hidden_states")
        sums = head_cross_entropy(
            hidden_BTD.reshape(-1, config.emb_dim),
            output_head(params, config),
            targets.reshape(-1),
            real.reshape(-1).astype(np.float32),
            layout=head_layout(config),
            logit_scale=head_scale(config),
            chunk_vocab=20,
        )
        return sums.objective, hidden_BTD

    variables = {"params": unflatten_paths(params)}
    with jax.default_matmul_precision("highest"):
        logits_BTV = jax.jit(model.apply)(variables, *tokens, targets)
        encoded_BSD = jax.jit(lambda v, x: model.apply(v, x, method="encode"))(
            variables, golden["inputs"]
        )
        (loss, hidden_BTD), grads = jax.jit(jax.value_and_grad(loss_and_hidden, has_aux=True))(
            variables["params"]
        )
    assert logits_BTV.dtype == jnp.float32
    # Where inputs are padding, T5X masks the query as well and transformers does not.
    assert relative_error(encoded_BSD, golden["encoded"], golden["inputs"] > 0) < 1e-5
    assert relative_error(logits_BTV, golden["logits"], real) < 1e-5
    assert hidden_BTD.shape == (*targets.shape, config.emb_dim)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-6)
    grads = flatten_paths(grads)
    assert set(grads) == set(expected_grads)
    for path, expected in expected_grads.items():
        assert relative_error(grads[path], expected) < 1e-4, path
