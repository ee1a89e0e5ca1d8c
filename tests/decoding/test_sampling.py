import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.errors import ConfigError
from nmt5.decoding import greedy, sampling

_spec = importlib.util.spec_from_file_location(
    "toy_decoder", pathlib.Path(__file__).with_name("toy_decoder.py")
)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def draw(table, count, **settings):
    """Draws `count` sequences of source 0."""
    return sampling.sample(
        toy.toy_step(table),
        keys_N=jax.random.split(jax.random.key(0), count),
        cache=toy.toy_cache(1, count),
        reorder=toy.REORDER,
        num_ids=toy.NUM_IDS,
        eos=toy.EOS,
        **settings,
    )


def test_top_k_and_top_p_keep_the_best():
    log_probs = jnp.log(jnp.array([[0.5, 0.1, 0.3, 0.1], [0.05, 0.9, 0.05, 0.0]]))
    kept = np.isfinite(sampling.keep_top_k(log_probs, top_k=2))
    assert kept.tolist() == [[True, False, True, False], [True, True, True, False]]  # a tie stays
    kept = np.isfinite(sampling.keep_top_p(log_probs, top_p=0.7))
    assert kept.tolist() == [[True, False, True, False], [False, True, False, False]]
    kept = np.isfinite(sampling.keep_top_p(log_probs, top_p=0.01))
    assert kept.sum(axis=1).tolist() == [1, 1]


def test_frequencies_follow_the_probabilities():
    table = toy.logits_table(4, num_sources=1, scale=1.0)
    first = np.asarray(draw(table, 4000, max_tokens=1).tokens_NT)[:, 0]
    logits = table[0, 0, 0, 0].astype(np.float64)
    logits[[toy.PAD, toy.NUM_IDS]] = -np.inf
    wanted = np.exp(logits) / np.exp(logits).sum()
    found = np.bincount(first, minlength=toy.VOCAB) / 4000
    np.testing.assert_allclose(found, wanted, atol=0.03)
    assert found[toy.PAD] == found[toy.NUM_IDS] == 0


def test_one_best_id_or_a_low_temperature_is_greedy():
    table = toy.logits_table(4, num_sources=1)
    wanted = greedy.greedy_search(
        toy.toy_step(table),
        cache=toy.toy_cache(1),
        reorder=toy.REORDER,
        num_sequences=1,
        max_tokens=8,
        num_ids=toy.NUM_IDS,
        eos=toy.EOS,
    ).tokens_NT[0]
    for settings in ({"top_k": 1}, {"temperature": 1e-3}, {"top_p": 1e-6}):
        found = draw(table, 5, max_tokens=8, **settings)
        assert (np.asarray(found.tokens_NT) == np.asarray(wanted)[None]).all()


def test_scores_are_sums_of_log_probabilities_up_to_the_end():
    table = toy.logits_table(4, num_sources=1)
    found = draw(table, 20, max_tokens=6, temperature=2.0)
    for ids, score in zip(np.asarray(found.tokens_NT).tolist(), found.scores_N, strict=True):
        written = ids[: ids.index(toy.EOS) + 1] if toy.EOS in ids else ids
        assert float(score) == pytest.approx(toy.log_prob(table, 0, written), rel=1e-4)
        assert not any(ids[len(written) :])


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="top_k is -1"):
        draw(toy.logits_table(0, num_sources=1), 1, max_tokens=2, top_k=-1)
