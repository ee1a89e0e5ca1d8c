import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.errors import ConfigError
from nmt5.evaluation.encoder_states import mean_states
from nmt5.model.config import model_config
from nmt5.model.network import Transformer
from nmt5.model.parameters import init_params

CONFIG = model_config("tiny", vocab_size=48)
TEXTS = [[5, 6, 7], [8], [], [9, 10, 11, 12, 13], [5, 6]]


@pytest.fixture(scope="module")
def params():
    return init_params(CONFIG, seed=0)


def test_the_mean_is_over_the_texts_own_tokens(params):
    found = mean_states(params, config=CONFIG, token_lists=TEXTS, batch_rows=2)
    assert found.shape == (5, CONFIG.emb_dim) and found.dtype == np.float32
    for text, vector in zip(TEXTS, found, strict=True):
        tokens = jnp.asarray([[*text, 1, 0, 0, 0, 0, 0][:8]])
        states = Transformer(CONFIG).apply({"params": params}, tokens, method="encode")[0]
        wanted = states[: len(text)].mean(axis=0) if text else states[0]
        np.testing.assert_allclose(vector, wanted, rtol=1e-4, atol=1e-5)


def test_states_of_an_earlier_layer(params):
    last = mean_states(params, config=CONFIG, token_lists=TEXTS)
    settings = {"config": CONFIG, "token_lists": TEXTS}
    np.testing.assert_array_equal(mean_states(params, layer=2, **settings), last)
    first = mean_states(params, layer=1, **settings)
    assert np.abs(first - last).max() > 0.1
    # A second layer that adds nothing leaves what the first one gave.
    silent = jax.tree.map(lambda leaf: leaf, params)
    for block, kernel in (("attention", "out"), ("mlp", "wo")):
        silent["encoder"]["layers_1"][block][kernel]["kernel"] *= 0.0
    np.testing.assert_allclose(mean_states(silent, **settings), first, rtol=1e-5, atol=1e-6)
    for layer in (0, 3):
        with pytest.raises(ConfigError, match=f"layer {layer}, expected 1 to 2"):
            mean_states(params, layer=layer, **settings)


def test_long_texts_are_cut_and_progress_is_told(params):
    seen = []
    found = mean_states(
        params,
        config=CONFIG,
        token_lists=[[5, 6, 7, 8, 9], [5, 6]],
        max_input_tokens=3,
        batch_rows=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert seen == [(1, 2), (2, 2)]
