"""Packing loses nothing, overlaps nothing and fills rows; arrays follow the worked example."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.core.features import MODEL_FEATURES
from nmt5.data.packing import assign_rows, build_rows


def test_worked_example():
    first = np.array([7, 8, 1]), np.array([5, 1])
    second = np.array([9, 1]), np.array([6, 6, 1])
    arrays = build_rows([[first, second], []], inputs_length=7, targets_length=6)
    expected = {
        "encoder_input_tokens": [7, 8, 1, 9, 1, 0, 0],
        "encoder_segment_ids": [1, 1, 1, 2, 2, 0, 0],
        "encoder_positions": [0, 1, 2, 0, 1, 0, 0],
        "decoder_target_tokens": [5, 1, 6, 6, 1, 0],
        "decoder_input_tokens": [0, 5, 0, 6, 6, 0],
        "decoder_segment_ids": [1, 1, 2, 2, 2, 0],
        "decoder_positions": [0, 1, 0, 1, 2, 0],
        "decoder_loss_weights": [1, 1, 1, 1, 1, 0],
    }
    assert tuple(arrays) == MODEL_FEATURES
    for feature, row in expected.items():
        assert arrays[feature].dtype == np.int32
        assert arrays[feature].tolist() == [row, [0] * len(row)], feature


LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 12)), min_size=1, max_size=60)


@given(LENGTHS)
def test_nothing_is_lost_and_nothing_overlaps(lengths):
    rows = assign_rows(np.array(lengths), inputs_length=20, targets_length=12)
    assert sorted(example for row in rows for example in row) == list(range(len(lengths)))
    # Every token has its own value, so the arrays tell where it came from.
    ends = np.cumsum([a + b for a, b in lengths])
    examples = [
        (np.arange(end - a - b, end - b) + 2, np.arange(end - b, end) + 2)
        for (a, b), end in zip(lengths, ends, strict=True)
    ]
    arrays = build_rows(
        [[examples[i] for i in row] for row in rows], inputs_length=20, targets_length=12
    )
    for side, name in enumerate(["encoder_input_tokens", "decoder_target_tokens"]):
        tokens = arrays[name]
        expected = np.concatenate([example[side] for example in examples])
        assert sorted(tokens[tokens > 0].tolist()) == sorted(expected.tolist())
        prefix = name.split("_")[0]
        segments = arrays[f"{prefix}_segment_ids"]
        positions = arrays[f"{prefix}_positions"]
        for r, row in enumerate(rows):
            for s, example in enumerate(row, start=1):
                here = segments[r] == s
                np.testing.assert_array_equal(tokens[r][here], examples[example][side])
                np.testing.assert_array_equal(positions[r][here], np.arange(here.sum()))
        assert not tokens[segments == 0].any() and not positions[segments == 0].any()
    inputs, targets = arrays["decoder_input_tokens"], arrays["decoder_target_tokens"]
    starts = arrays["decoder_positions"] == 0
    assert not inputs[starts].any()
    np.testing.assert_array_equal(inputs[:, 1:][~starts[:, 1:]], targets[:, :-1][~starts[:, 1:]])
    np.testing.assert_array_equal(arrays["decoder_loss_weights"], targets > 0)


def test_rows_are_well_filled():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.3, 0.6, (1024, 1)) * rng.lognormal(0, 0.2, (1024, 2)), 2, 512)
    lengths = lengths.astype(int)
    rows = assign_rows(lengths, inputs_length=512, targets_length=512)
    assert lengths.sum() / (len(rows) * 1024) > 0.94


def test_first_rows_of_a_window_are_not_the_longest_examples():
    rng = np.random.default_rng(0)
    lengths = np.repeat(rng.integers(2, 100, (2000, 1)), 2, axis=1)
    rows = assign_rows(lengths, inputs_length=256, targets_length=256)
    counts = np.array([len(row) for row in rows])
    third = len(rows) // 3
    assert counts[:third].mean() == pytest.approx(counts[-third:].mean(), rel=0.2)


def test_an_example_longer_than_the_row_is_an_error():
    with pytest.raises(DataError, match=r"example 1 of the window has \(9, 3\)"):
        assign_rows(np.array([[2, 2], [9, 3]]), inputs_length=8, targets_length=8)
    long = np.arange(9), np.arange(3)
    with pytest.raises(DataError, match="row 0 holds 9 tokens, its length is 8"):
        build_rows([[long]], inputs_length=8, targets_length=8)


def test_no_example_no_row():
    assert assign_rows(np.zeros((0, 2), int), inputs_length=8, targets_length=8) == []
    arrays = build_rows([], inputs_length=8, targets_length=8)
    assert all(array.shape == (0, 8) for array in arrays.values())
