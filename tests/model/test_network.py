import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.config import model_config
from nmt5.model.network import Transformer, empty_cache
from nmt5.model.parameters import init_params

TINY = model_config("tiny")
PER_LAYER = model_config("tiny", relative_bias="per_layer")
TIED = model_config("tiny", logits_via_embedding=True, mlp_activations=("relu",))


@functools.cache
def variables(config):
    return {"params": init_params(config, seed=0)}


def tokens(rows, length, *, seed, real=None):
    drawn = jax.random.randint(jax.random.key(seed), (rows, length), 3, 512)
    return drawn if real is None else jnp.where(jnp.arange(length)[None, :] < real, drawn, 0)


def shifted(targets_BT):
    return jnp.pad(targets_BT, ((0, 0), (1, 0)))[:, :-1]


def logits_of(config, *arrays):
    return _logits_of(config, variables(config), *arrays)


@functools.partial(jax.jit, static_argnums=0)
def _logits_of(
    config, variables, inputs_BS, targets_BT, inputs_segments=None, targets_segments=None
):
    return Transformer(config).apply(
        variables,
        inputs_BS,
        shifted(targets_BT) if targets_segments is None else packed_shift(targets_BT),
        targets_BT,
        encoder_segment_ids=inputs_segments,
        decoder_segment_ids=targets_segments,
    )


def packed_shift(targets_BT):
    """Decoder inputs of the packed example below: each of its segments begins with 0."""
    return shifted(targets_BT).at[:, 6].set(0)


@pytest.mark.parametrize("config", [TINY, PER_LAYER, TIED], ids=["mt5", "umt5", "t5"])
def test_packed_rows_equal_single_ones(config):
    first, second = tokens(1, 9, seed=1), tokens(1, 7, seed=2)
    first_out, second_out = tokens(1, 6, seed=3), tokens(1, 5, seed=4)
    padding = jnp.zeros((1, 3), jnp.int32)
    packed = logits_of(
        config,
        jnp.concatenate([first, second, padding], axis=1),
        jnp.concatenate([first_out, second_out, padding], axis=1),
        jnp.array([[1] * 9 + [2] * 7 + [0] * 3]),
        jnp.array([[1] * 6 + [2] * 5 + [0] * 3]),
    )
    alone = logits_of(config, first, first_out), logits_of(config, second, second_out)
    for part, expected in zip((packed[:, :6], packed[:, 6:11]), alone):
        np.testing.assert_allclose(part, expected, atol=1e-5 * float(jnp.abs(expected).mean()))


def gradient_at_embeddings(config, *, position):
    """|d sum(logits at one target position) / d embedding| by input and by decoder input place."""
    places = 9 + 7 + 3, 6 + 5 + 3
    # Each real place has a token of its own, so the table's gradient is the places' gradient.
    inputs = jnp.where(jnp.arange(places[0]) < 16, jnp.arange(3, 3 + places[0]), 0)[None]
    decoder_inputs = jnp.arange(100, 100 + places[1])[None]
    targets = jnp.arange(200, 200 + places[1])[None]
    input_segments = jnp.array([[1] * 9 + [2] * 7 + [0] * 3])
    target_segments = jnp.array([[1] * 6 + [2] * 5 + [0] * 3])

    def total(params):
        logits_BTV = Transformer(config).apply(
            {"params": params},
            inputs,
            decoder_inputs,
            jnp.where(target_segments > 0, targets, 0),
            encoder_segment_ids=input_segments,
            decoder_segment_ids=target_segments,
        )
        return jnp.sum(jnp.square(logits_BTV[0, position]))

    table_VD = jax.jit(jax.grad(total))(variables(config)["params"])["token_embedder"]["embedding"]
    size_V = np.abs(np.asarray(table_VD)).sum(axis=1)
    return size_V[np.asarray(inputs[0])], size_V[np.asarray(decoder_inputs[0])]


@pytest.mark.parametrize("config", [TINY, PER_LAYER], ids=["mt5", "umt5"])
@pytest.mark.parametrize("position", [2, 8])
def test_nothing_leaks(config, position):
    """Across a future token, another segment or padding the gradient is exactly 0."""
    of_inputs, of_outputs = gradient_at_embeddings(config, position=position)
    seen_inputs = np.zeros(19, bool)
    seen_outputs = np.zeros(14, bool)
    if position == 2:
        seen_inputs[:9], seen_outputs[:3] = True, True
    else:
        seen_inputs[9:16], seen_outputs[6:9] = True, True
    np.testing.assert_array_equal(of_inputs > 0, seen_inputs)
    np.testing.assert_array_equal(of_outputs > 0, seen_outputs)


def test_padding_of_a_row_changes_nothing():
    inputs, targets = tokens(2, 8, seed=5), tokens(2, 5, seed=6)
    padded = logits_of(TINY, jnp.pad(inputs, ((0, 0), (0, 5))), jnp.pad(targets, ((0, 0), (0, 4))))
    expected = logits_of(TINY, inputs, targets)
    np.testing.assert_allclose(padded[:, :5], expected, atol=1e-5)
    assert bool(jnp.isfinite(padded).all())


@functools.partial(jax.jit, static_argnums=(0, 1))
def logits_in_steps(config, steps, variables, inputs_BS, targets_NT):
    """Logits from the cached decoder, `steps[i]` positions at a time, and from `decode`."""
    apply = functools.partial(Transformer(config).apply, variables)
    encoded_BSD = apply(inputs_BS, method="encode")
    memory = apply(encoded_BSD, inputs_BS, method="start_decoding")
    cache = empty_cache(config, num_rows=targets_NT.shape[0], max_length=11)
    start, found = 0, []
    for size in steps:
        next_tokens = shifted(targets_NT)[:, start : start + size]
        logits, cache = apply(next_tokens, memory, cache, method="decode_step")
        found.append(logits)
        start += size
    repeats = targets_NT.shape[0] // inputs_BS.shape[0]
    repeated = (jnp.repeat(array, repeats, axis=0) for array in (encoded_BSD, inputs_BS))
    whole = apply(*repeated, shifted(targets_NT), targets_NT, method="decode")
    return jnp.concatenate(found, axis=1), whole, cache.length


@pytest.mark.parametrize(
    ("config", "steps", "hypotheses"),
    [
        (TINY, (1,) * 7, 1),
        (TINY, (4, 1, 2), 3),  # three hypotheses share the keys and values of their sentence
        (PER_LAYER, (1,) * 7, 1),
        (TIED, (4, 1, 2), 1),
    ],
    ids=["mt5", "mt5_prefix", "umt5", "t5_prefix"],
)
def test_incremental_decoding_equals_the_full_pass(config, steps, hypotheses):
    inputs = tokens(3, 10, seed=7, real=jnp.array([[10], [6], [3]]))
    targets = tokens(3 * hypotheses, 7, seed=8)
    found, whole, length = logits_in_steps(config, steps, variables(config), inputs, targets)
    expected = logits_of(config, jnp.repeat(inputs, hypotheses, axis=0), targets)
    assert int(length) == 7
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtypes(dtype):
    config = model_config("tiny", dtype=dtype)
    inputs, targets = tokens(2, 10, seed=13), tokens(2, 4, seed=14)
    hidden = jax.eval_shape(
        lambda v: Transformer(config).apply(
            v, inputs, shifted(targets), targets, method="hidden_states"
        ),
        variables(config),
    )
    assert hidden.dtype == dtype
    logits, exact = logits_of(config, inputs, targets), logits_of(TINY, inputs, targets)
    assert logits.dtype == jnp.float32
    difference = jnp.abs(logits - exact)
    assert float(difference.mean()) < (0.03 if dtype == "bfloat16" else 1e-7) * float(
        jnp.abs(exact).mean()
    )


def test_token_outside_the_vocabulary_is_seen():
    inputs = tokens(1, 4, seed=15).at[0, 1].set(512)
    assert bool(jnp.isnan(logits_of(TINY, inputs, tokens(1, 3, seed=16))).any())
