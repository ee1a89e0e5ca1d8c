"""nmt5's network driven call by call as T5X's `EncoderDecoderModel` drives it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.translate import translate
from nmt5.evaluation.t5x_network import Transformer
from nmt5.model import network
from nmt5.model.config import model_config
from nmt5.model.network import empty_cache

CONFIGS = {
    "mt5": model_config("tiny", vocab_size=48),
    "umt5": model_config("tiny", vocab_size=48, relative_bias="per_layer"),
    "t5": model_config("tiny", vocab_size=48, logits_via_embedding=True, mlp_activations=("relu",)),
}
INPUTS = jnp.array([[5, 6, 7, 1, 0, 0], [9, 8, 1, 0, 0, 0], [11, 12, 13, 14, 15, 1]])
LENGTH = 7


def fresh(config):
    ones = jnp.ones((3, 4), jnp.float32)  # T5X does not say that tokens are integers
    variables = Transformer(config).init(
        jax.random.key(1), ones, ones, ones, decode=False, enable_dropout=False
    )
    return variables, jax.tree.map(lambda leaf: 3.0 * leaf, variables["params"])


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_step_by_step_gives_the_logits_of_decode_step(config):
    variables, params = fresh(config)
    assert set(variables) == {"params", "params_axes"}
    expected = network.Transformer(config).init(jax.random.key(1), *[jnp.ones((1, 1), int)] * 3)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    theirs = jax.jit(
        Transformer(config).apply,
        static_argnames=("method", "decode", "enable_dropout", "mutable", "max_decode_length"),
    )
    encoded = theirs({"params": params}, INPUTS, method="encode", enable_dropout=False)
    ones = jnp.ones((3, LENGTH), jnp.int32)
    _, made = theirs(
        {"params": params}, jnp.ones_like(INPUTS), ones, ones,
        decode=True, enable_dropout=False, mutable=("cache",),
    )  # fmt: skip
    assert set(made["cache"]) == {"layers_0", "layers_1", "cache_index"}
    assert all(float(jnp.abs(leaf).sum()) == 0 for leaf in jax.tree.leaves(made["cache"]))

    # Two hypotheses of each sentence, side by side: as T5X repeats the cache for its beams.
    repeat = functools.partial(jnp.repeat, repeats=2, axis=0)
    cache = {
        name: value if name == "cache_index" else jax.tree.map(repeat, value)
        for name, value in made["cache"].items()
    }
    ours = functools.partial(
        jax.jit(network.Transformer(config).apply, static_argnames=("method",)), {"params": params}
    )
    memory = ours(encoded, INPUTS, method="start_decoding")
    own_cache = empty_cache(config, num_rows=6, max_length=LENGTH)
    tokens = jnp.zeros((6, 1), jnp.int32)
    for step in range(LENGTH):
        logits, made = theirs(
            {"params": params, "cache": cache}, repeat(encoded), repeat(INPUTS), tokens, tokens,
            decode=True, enable_dropout=False, method="decode", mutable=("cache",),
            max_decode_length=LENGTH,
        )  # fmt: skip
        cache = made["cache"]
        expected, own_cache = ours(tokens, memory, own_cache, method="decode_step")
        largest = float(jnp.abs(expected).max())
        np.testing.assert_allclose(logits, expected, atol=1e-5 * largest)
        assert int(cache["cache_index"]) == step + 1
        tokens = (tokens + jnp.arange(3, 9)[:, None]) % 40


@pytest.mark.slow
def test_greedy_search_over_the_collection_equals_our_own():
    config = CONFIGS["mt5"]
    _, params = fresh(config)
    module = Transformer(config)
    encoded = module.apply({"params": params}, INPUTS, method="encode")
    ones = jnp.ones((3, LENGTH), jnp.int32)
    _, made = module.apply(
        {"params": params}, INPUTS, ones, ones, decode=True, enable_dropout=False, mutable=["cache"]
    )
    cache, tokens, found = made["cache"], jnp.zeros((3, 1), jnp.int32), []
    for _ in range(LENGTH):
        logits, made = module.apply(
            {"params": params, "cache": cache}, encoded, INPUTS, tokens, tokens,
            decode=True, enable_dropout=False, method="decode", mutable=["cache"],
        )  # fmt: skip
        cache = made["cache"]
        tokens = 1 + jnp.argmax(logits[:, :, 1:40], axis=-1).astype(jnp.int32)
        found.append(np.asarray(tokens)[:, 0])
    sources = [[int(i) for i in row if i > 1] for row in INPUTS]
    own = translate(
        params,
        config=config,
        token_lists=sources,
        num_ids=40,
        decoding=DecodingConfig(max_output_tokens=LENGTH),
    )
    for row, ids in zip(np.stack(found, axis=1).tolist(), own.ids, strict=True):
        assert (row[: row.index(1)] if 1 in row else row) == ids


def test_packed_rows_are_not_decoded():
    config = CONFIGS["mt5"]
    _, params = fresh(config)
    token = jnp.ones((1, 1), jnp.int32)
    with pytest.raises(ValueError, match="packed rows"):
        Transformer(config).apply(
            {"params": params}, jnp.ones((1, 1, 32)), token, token, token, token,
            decode=True, enable_dropout=False, method="decode", mutable=["cache"],
        )  # fmt: skip
