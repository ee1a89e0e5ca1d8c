import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.attention import attend
from nmt5.model.config import model_config
from nmt5.model.masks import Mask
from nmt5.model.network import Transformer
from nmt5.model.parameters import init_params

RATE = 0.3
CONFIG = model_config("tiny", dropout_rate=RATE)
VARIABLES = {"params": init_params(CONFIG, seed=0)}
INPUTS = jax.random.randint(jax.random.key(1), (64, 12), 3, 512)
TARGETS = jax.random.randint(jax.random.key(2), (64, 6), 3, 512)


def hidden(config, *, dropout, seed=3):
    return Transformer(config).apply(
        VARIABLES,
        INPUTS,
        TARGETS,
        TARGETS,
        enable_dropout=dropout,
        rngs={"dropout": jax.random.key(seed)},
        method="hidden_states",
    )


def assert_rate(kept):
    kept = np.asarray(kept, np.float64)
    error = np.sqrt(RATE * (1 - RATE) / kept.size)
    assert abs(kept.mean() - (1 - RATE)) < 3 * error


@pytest.mark.slow
def test_keep_rate_of_the_outputs_and_shared_masks():
    states_BTD = hidden(CONFIG, dropout=True)
    kept_BTD = np.asarray(states_BTD != 0)
    # The decoder's last mask is shared along the length, the encoder's is not.
    assert (kept_BTD == kept_BTD[:, :1]).all()
    assert_rate(kept_BTD[:, 0])
    encoded_BSD = Transformer(CONFIG).apply(
        VARIABLES,
        INPUTS,
        enable_dropout=True,
        rngs={"dropout": jax.random.key(4)},
        method="encode",
    )
    kept_BSD = np.asarray(encoded_BSD != 0)
    assert not (kept_BSD == kept_BSD[:, :1]).all()
    assert_rate(kept_BSD)


def test_rate_of_attention_weights():
    rows, heads, keys = 16, 8, 32
    states = jnp.zeros((rows, 4, heads, keys))
    identity = jnp.broadcast_to(jnp.eye(keys)[None, :, None, :], (rows, keys, heads, keys))
    weights_BTHS = attend(
        states,
        key_BSHK=identity,
        value_BSHK=identity,
        mask=Mask(jnp.zeros((rows, 1, 1, keys)), None, None),
        dropout_rate=RATE,
        dropout_key=jax.random.key(5),
    )
    kept = np.asarray(weights_BTHS != 0)
    assert (kept == kept[:, :1]).all()  # shared along the queries
    assert_rate(kept[:, 0])
    np.testing.assert_allclose(weights_BTHS[kept], 1 / keys / (1 - RATE), rtol=1e-6)


def test_no_effect_at_rate_zero_or_when_disabled():
    plain = hidden(CONFIG, dropout=False)
    np.testing.assert_array_equal(hidden(model_config("tiny"), dropout=True), plain)
    assert not np.array_equal(hidden(CONFIG, dropout=True), plain)
    np.testing.assert_array_equal(hidden(CONFIG, dropout=True), hidden(CONFIG, dropout=True))
    assert not np.array_equal(hidden(CONFIG, dropout=True), hidden(CONFIG, dropout=True, seed=9))
