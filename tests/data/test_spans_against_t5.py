"""Span corruption equals t5's: same lengths, same mask shapes, same tokens for the same mask."""

import collections
import warnings

import numpy as np
import pytest

from nmt5.data.mixture import TokenIds
from nmt5.data.spans import fitting_lengths, random_spans_noise_mask, replace_runs

with warnings.catch_warnings():  # TensorFlow's and t5's own deprecations, at import
    warnings.simplefilter("ignore")
    from t5.data import preprocessors
    import tensorflow as tf

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

IDS = TokenIds(size=250_100, num_sentinels=100, fingerprint="")


class MT5Vocabulary:
    vocab_size = 250_100


def seeds(i):
    return tf.constant([[i, 1], [i, 2]], tf.int32)


def test_row_lengths():
    for inputs in [16, 100, 114, 128, 255, 256, 511, 512, 1000, 1024, 1600]:
        ours = fitting_lengths(inputs)
        theirs = preprocessors.random_spans_helper(
            inputs_length=inputs,
            noise_density=0.15,
            mean_noise_span_length=3.0,
            extra_tokens_per_span_inputs=1,
            extra_tokens_per_span_targets=1,
        )
        assert (ours.raw, ours.targets) == theirs


def test_mask_counts():
    mask_fn = tf.function(
        lambda length: preprocessors.random_spans_noise_mask(length, 0.15, seeds(3))
    )
    rng = np.random.default_rng(0)
    for length in [*range(1, 60), 70, 110, 190, 230, 284, 568, 569, 1130, 1137]:
        theirs = mask_fn(tf.constant(length)).numpy()
        ours = random_spans_noise_mask(length, rng)
        assert len(ours) == len(theirs)
        assert ours.sum() == theirs.sum()
        assert count_runs(ours) == count_runs(theirs)
        assert ours[0] == theirs[0] and ours[-1] == theirs[-1]


def count_runs(mask):
    return int(np.sum(mask[1:] & ~mask[:-1])) + int(mask[0])


def test_tokens_equal_for_equal_mask():
    rng = np.random.default_rng(7)
    for i, length in enumerate([1, 2, 5, 20, 200, 568, 1137]):
        tokens = rng.integers(3, 250_000, length).astype(np.int32)
        mask = preprocessors.random_spans_noise_mask(length, 0.15, seeds(i)).numpy()
        args = (tf.constant(tokens), tf.constant(mask), MT5Vocabulary, None)
        inputs = preprocessors.noise_span_to_unique_sentinel(*args).numpy()
        targets = preprocessors.nonnoise_span_to_unique_sentinel(*args).numpy()
        np.testing.assert_array_equal(replace_runs(tokens, mask, ids=IDS), inputs)
        np.testing.assert_array_equal(replace_runs(tokens, ~mask, ids=IDS), targets)


def test_compositions_have_the_same_distribution():
    """20 tokens at density 0.3: 6 noise in 2 spans, 14 kept in 2 runs: 5 x 13 masks."""
    draws = 4000
    mask_fn = tf.function(
        lambda i: preprocessors.random_spans_noise_mask(
            20, 0.3, tf.stack([tf.stack([i, 1]), tf.stack([i, 2])])
        )
    )
    theirs = tf.vectorized_map(mask_fn, tf.range(draws)).numpy()
    rng = np.random.default_rng(0)
    ours = [random_spans_noise_mask(20, rng, noise_density=0.3) for _ in range(draws)]
    counts = [collections.Counter(mask.tobytes() for mask in masks) for masks in (theirs, ours)]
    assert set(counts[0]) == set(counts[1])
    assert len(counts[0]) == 65
    # Two samples of equal size: sum (a - b)^2 / (a + b) is chi-square, 64 degrees of freedom.
    statistic = sum(
        (counts[0][m] - counts[1][m]) ** 2 / (counts[0][m] + counts[1][m]) for m in counts[0]
    )
    assert statistic < 104.7  # p = 0.001
