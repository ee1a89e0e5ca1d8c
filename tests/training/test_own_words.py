"""A step that reads and updates only its batch's rows of the token table equals one with all."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core import features
from nmt5.model.config import model_config
from nmt5.model.parameters import init_params
from nmt5.training import own_words
from nmt5.training.adafactor import SomeRows
from nmt5.training.optimizer import OptimizerConfig, init_optimizer, update_params
from nmt5.training.state import init_state
from nmt5.training.step import LossConfig, StepConfig, train_step

VOCAB = 1000
MODEL = model_config(
    "tiny", vocab_size=VOCAB, emb_dim=128, num_encoder_layers=1, num_decoder_layers=1
)
CONFIG = StepConfig(model=MODEL, optimizer=OptimizerConfig(), loss=LossConfig())


def _group(rows, length, *, seed):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(3, VOCAB, (2, rows, length)).astype(np.int32)
    inputs[0, length // 2 :] = 0
    return {
        features.ENCODER_INPUT_TOKENS: inputs,
        features.ENCODER_SEGMENT_IDS: (inputs > 0).astype(np.int32),
        features.DECODER_INPUT_TOKENS: np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        features.DECODER_TARGET_TOKENS: targets,
        features.DECODER_SEGMENT_IDS: np.ones_like(targets),
        features.DECODER_LOSS_WEIGHTS: np.ones_like(targets),
    }


BATCH = {"long": _group(4, 16, seed=1), "short": _group(4, 8, seed=2)}


@pytest.fixture(scope="module")
def state():
    return init_state(init_params(MODEL, seed=0), optimizer=CONFIG.optimizer)


def _table(state):
    return np.asarray(state.params["token_embedder"]["embedding"])


def _reads_few(config, batch=None):
    return own_words.reads_few_words(batch or BATCH, model=config.model, optimizer=config.optimizer)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_two_steps_equal_those_with_the_whole_table(state, microbatches, monkeypatch):
    config = dataclasses.replace(CONFIG, microbatches=microbatches)
    assert _reads_few(config)

    def two_steps():
        step = jax.jit(functools.partial(train_step, config=config))
        after, _ = step(state, BATCH)
        return step(after, BATCH)

    rows = two_steps()
    monkeypatch.setattr(own_words, "reads_few_words", lambda *_, **__: False)
    whole = two_steps()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), rows, whole)
    read = np.unique(np.concatenate([
        group[name].reshape(-1) for group in BATCH.values() for name in own_words.INPUTS
    ]))  # fmt: skip
    unread = np.setdiff1d(np.arange(VOCAB), read)
    np.testing.assert_array_equal(_table(rows[0])[unread], _table(state)[unread])
    assert (_table(rows[0])[read] != _table(state)[read]).any(axis=1).all()


def test_a_bad_batch_leaves_the_table_as_it_is(state):
    wrong = jax.tree.map(np.copy, BATCH)
    wrong["long"][features.ENCODER_INPUT_TOKENS][1, 3] = VOCAB + 7  # no such word
    after, metrics = jax.jit(functools.partial(train_step, config=CONFIG))(state, wrong)
    assert int(metrics["skipped"]) == 1
    np.testing.assert_array_equal(_table(after), _table(state))


def test_numbers_are_places_and_padding_stays_padding():
    ids, renumbered = own_words.renumbered(BATCH)
    for objective, group in BATCH.items():
        for name, tokens in group.items():
            if name in own_words.INPUTS:
                places = np.asarray(renumbered[objective][name])
                np.testing.assert_array_equal(np.asarray(ids)[places], tokens)
                np.testing.assert_array_equal(places == 0, tokens == 0)
            else:
                assert renumbered[objective][name] is tokens
    assert (np.diff(np.asarray(ids)) >= 0).all()
    without_padding = {"one": {name: np.full((2, 3), 5, np.int32) for name in own_words.INPUTS}}
    ids, renumbered = own_words.renumbered(without_padding)
    assert ids[:2].tolist() == [0, 5]
    assert all((array == 1).all() for array in renumbered["one"].values())


def test_tables_that_need_all_rows():
    def changed(**settings):
        return dataclasses.replace(CONFIG, **settings)

    tied = dataclasses.replace(MODEL, logits_via_embedding=True)
    assert not _reads_few(changed(model=tied))
    assert not _reads_few(changed(optimizer=OptimizerConfig(beta1=0.9)))
    assert not _reads_few(changed(optimizer=OptimizerConfig(min_dim_size_to_factor=129)))
    assert not _reads_few(CONFIG, {"one": _group(4, 128, seed=3)})


@pytest.mark.parametrize("shape", [(600, 130), (130, 600)])
@pytest.mark.parametrize("wanted", [True, False])
def test_some_rows_move_as_in_a_whole_gradient(shape, wanted):
    rng = np.random.default_rng(0)
    ids = np.array([0, 3, 77, 78, shape[0]], np.int32)
    rows = rng.standard_normal((5, shape[1])).astype(np.float32)
    rows[4:] = 0
    whole = np.zeros(shape, np.float32)
    whole[ids[:4]] = rows[:4]
    # Far from 0, where a sum that cancels would be compared by its rounding.
    params = {"table": rng.uniform(2.0, 3.0, shape).astype(np.float32)}
    params = jax.tree.map(jnp.asarray, params)
    config = OptimizerConfig(schedule="constant", learning_rate=0.1)
    update = functools.partial(
        update_params,
        step=jnp.int32(0),
        config=config,
        loss=jnp.float32(1.0 if wanted else np.nan),
    )
    state = init_optimizer(params, config=config)
    found = expected = (params, state)
    for scale in (1.0, 10.0):  # the second is so large that RMS(u) matters, of all V rows
        some = SomeRows(jnp.asarray(ids), scale * jnp.asarray(rows))
        found = update({"table": some}, found[1], found[0])
        expected = update({"table": scale * jnp.asarray(whole)}, expected[1], expected[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    moved = np.flatnonzero((found[0]["table"] != params["table"]).any(axis=1))
    assert moved.tolist() == ([0, 3, 77, 78] if wanted else [])
