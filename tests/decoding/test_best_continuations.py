"""The few best ids found by blocks equal those of sorting all log probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.decoding import cache, greedy


@pytest.mark.parametrize(("vocab", "count"), [(128 * 80, 8), (128 * 80, 1), (128 * 80 + 3, 8)])
def test_equal_to_sorting_everything(vocab, count):
    logits = 3 * np.random.default_rng(0).normal(size=(5, vocab)).astype(np.float32)
    logits[0, 100:110] = 20.0  # equals within a block
    logits[1, ::128] = 20.0  # equals across blocks
    logits[2, [0, vocab - 1]] = 50.0  # padding, and a row beyond the vocabulary
    found = cache.best_continuations(jnp.asarray(logits), count=count, num_ids=vocab - 2, pad=0)
    every = cache.allowed_log_probs(jnp.asarray(logits), num_ids=vocab - 2, pad=0)
    best, ids = jax.lax.top_k(every, count)
    np.testing.assert_array_equal(found.ids_NX, ids)
    np.testing.assert_allclose(found.log_probs_NX, best, rtol=1e-5)


def test_sizes_shrink_to_few():
    assert cache.shrinking_sizes(256) == [256, 64, 16]
    assert [cache.shrinking_sizes(n) for n in (1, 28, 34)] == [[1], [28], [34]]


def test_all_that_have_not_ended_are_kept():
    ended = jnp.array([True, False, True, True, False, True, True, True])
    assert cache.unfinished_first(ended, count=4).tolist() == [0, 1, 2, 4]


def test_sequences_that_end_early_leave_the_others_as_they_are():
    """32 sequences that end after 1, 2, 3 ... ids: 24 of them leave on the way."""
    ends = jnp.arange(32) % 31 + 1

    def step(last_N, state):
        count_N = state["count"] + 1
        ended_N = count_N >= state["ends"]
        logits_NV = jnp.where(jnp.arange(6)[None, :] == jnp.where(ended_N, 1, 3)[:, None], 5.0, 0.0)
        return logits_NV, {"count": count_N, "ends": state["ends"], "at": state["at"] + 1}

    start = {"count": jnp.zeros(32, jnp.int32), "ends": ends, "at": jnp.zeros((), jnp.int32)}
    found = greedy.greedy_search(
        step,
        cache=start,
        reorder=cache.pick_rows,
        num_sequences=32,
        max_tokens=40,
        num_ids=6,
        eos=1,
    )
    lengths = np.asarray((found.tokens_NT == 3).sum(axis=1))
    np.testing.assert_array_equal(lengths, np.asarray(ends) - 1)
    assert ((found.tokens_NT == 1).sum(axis=1) == 1).all()
    each = 5.0 - np.log(5 + np.exp(5.0))
    np.testing.assert_allclose(found.scores_N, each * np.asarray(ends), rtol=1e-4)
