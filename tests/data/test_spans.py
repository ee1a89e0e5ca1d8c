"""Span arithmetic against the table of mT5's lengths, and the shape of masks and corrupted text."""

import collections

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.mixture import TokenIds
from nmt5.data.spans import (
    corrupted_lengths,
    fitting_lengths,
    random_composition,
    random_spans_noise_mask,
    replace_runs,
)

IDS = TokenIds(size=1000, num_sentinels=100, fingerprint="")
FIRST_SENTINEL = 999


@pytest.mark.parametrize(
    ("inputs", "raw", "noise", "spans", "targets"),
    [
        (114, 126, 19, 6, 26),
        (128, 141, 21, 7, 29),
        (256, 284, 43, 14, 58),
        (512, 568, 85, 28, 114),
        (1024, 1137, 171, 57, 229),
        (2048, 2274, 341, 114, 456),
    ],
)
def test_lengths_of_a_full_row(inputs, raw, noise, spans, targets):
    lengths = fitting_lengths(inputs)
    found = (lengths.raw, lengths.noise, lengths.spans, lengths.inputs, lengths.targets)
    assert found == (raw, noise, spans, inputs, targets)


@given(
    st.integers(2, 3000),
    st.integers(2, 600) | st.none(),
    st.floats(0.05, 0.6),
    st.floats(1, 8),
)
def test_fitting_lengths_is_the_longest_that_fits(inputs, targets, density, mean):
    settings = {"noise_density": density, "mean_span_tokens": mean}
    lengths = fitting_lengths(inputs, targets_length=targets, **settings)
    longer = corrupted_lengths(lengths.raw + 1, **settings)
    assert lengths.inputs <= inputs and (targets is None or lengths.targets <= targets)
    assert longer.inputs > inputs or (targets is not None and longer.targets > targets)


@pytest.mark.parametrize(
    ("length", "mask"), [(1, "0"), (2, "01"), (3, "001"), (5, "00001"), (10, "0000000011")]
)
def test_short_texts_lose_their_end(length, mask):
    found = random_spans_noise_mask(length, np.random.default_rng(1))
    assert "".join(str(int(x)) for x in found) == mask


@given(st.integers(2, 2000), st.integers(0, 2**32))
def test_mask_has_the_counts_of_the_arithmetic_and_starts_with_text(length, seed):
    mask = random_spans_noise_mask(length, np.random.default_rng(seed))
    noise = min(max(round(float(np.float32(length) * np.float32(0.15))), 1), length - 1)
    starts = np.flatnonzero(mask[1:] & ~mask[:-1])
    assert mask.sum() == noise
    assert len(starts) == max(round(noise / 3), 1)
    assert not mask[0] and mask[-1]


def test_compositions_are_uniform():
    rng = np.random.default_rng(0)
    draws = 6000
    found = collections.Counter(tuple(random_composition(6, 3, rng)) for _ in range(draws))
    assert len(found) == 10  # 5 gaps choose 2
    expected = draws / 10
    chi_square = sum((count - expected) ** 2 / expected for count in found.values())
    assert chi_square < 27.9  # 9 degrees of freedom, p = 0.001


def test_worked_example():
    tokens = np.arange(10, 16, dtype=np.int32)
    mask = np.array([0, 1, 1, 0, 0, 1], bool)
    assert replace_runs(tokens, mask, ids=IDS).tolist() == [10, 999, 13, 14, 998]
    assert replace_runs(tokens, ~mask, ids=IDS).tolist() == [999, 11, 12, 998, 15]
    assert tokens.tolist() == list(range(10, 16)), "the stored text must not be written to"


@given(st.integers(1, 600), st.integers(0, 2**32))
def test_corrupt_then_interleave_gives_the_text_back(length, seed):
    rng = np.random.default_rng(seed)
    text = rng.integers(3, 900, length).astype(np.int32)
    mask = random_spans_noise_mask(length, rng)
    inputs = replace_runs(text, mask, ids=IDS)
    targets = replace_runs(text, ~mask, ids=IDS)
    spans, current = {}, None
    for token in targets.tolist():
        if token >= 900:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    restored = []
    for token in inputs.tolist():
        restored += spans.pop(token) if token >= 900 else [token]
    # A text of one token keeps it, and t5 then still writes its (only) run as a target sentinel.
    assert restored == text.tolist()
    assert spans in ({}, {FIRST_SENTINEL: []})


def test_more_spans_than_sentinels_is_an_error():
    few = TokenIds(size=1000, num_sentinels=3, fingerprint="")
    mask = np.tile([False, True], 4)
    with pytest.raises(DataError, match="4 spans in 8 tokens.* has 3 sentinels"):
        replace_runs(np.arange(8, dtype=np.int32), mask, ids=few)
    # mT5's case: 2,048 inputs need 114 spans.
    text = np.full(fitting_lengths(2048).raw, 5, np.int32)
    mask = random_spans_noise_mask(len(text), np.random.default_rng(0))
    with pytest.raises(DataError, match="114 spans"):
        replace_runs(text, mask, ids=IDS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_density": 0.0}, "noise_density 0.0, expected 0 < x < 1"),
        ({"noise_density": 1.0}, "noise_density 1.0"),
        ({"mean_span_tokens": 0.5}, "mean_span_tokens 0.5, expected >= 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        fitting_lengths(128, **settings)


def test_a_row_without_room_is_an_error():
    with pytest.raises(ConfigError, match="a row of 1 inputs"):
        fitting_lengths(1)
