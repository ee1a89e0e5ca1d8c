from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.decoding.batching import WIDTHS, batches_by_length, batches_in_parts


def test_worked_example():
    found = list(batches_by_length([[5], [6] * 16, [9, 9], []], rows=2, eos=1))
    assert [batch.indices for batch in found] == [[1], [2, 0], [3]]
    assert [batch.tokens_BS.shape for batch in found] == [(1, 32), (2, 16), (2, 16)]
    assert found[0].tokens_BS[0].tolist() == [6] * 16 + [1] + [0] * 15
    assert found[1].tokens_BS[:, :4].tolist() == [[9, 9, 1, 0], [5, 1, 0, 0]]
    assert found[2].tokens_BS[:, :2].tolist() == [[1, 0], [1, 0]]


@given(st.lists(st.integers(0, 70), max_size=40), st.sampled_from([1, 4, 16]))
def test_every_sequence_comes_once_and_whole(lengths, rows):
    sequences = [[2 + index] * length for index, length in enumerate(lengths)]
    seen = {}
    shapes = set()
    for batch in batches_by_length(sequences, rows=rows, eos=1):
        shapes.add(batch.tokens_BS.shape)
        for row, index in enumerate(batch.indices):
            assert index not in seen
            seen[index] = batch.tokens_BS[row][batch.tokens_BS[row] > 1].tolist()
            assert np.count_nonzero(batch.tokens_BS[row] == 1) == 1
    assert seen == dict(enumerate(sequences))
    assert len(shapes) == len({width for _, width in shapes})


def test_a_sequence_beyond_all_widths_is_refused():
    with pytest.raises(ValueError, match="sequence 0 has 4096 tokens, at most 4095"):
        list(batches_by_length([[3] * WIDTHS[-1]], rows=1, eos=1))


def test_parts_of_a_batch_have_one_width_each():
    sequences = [[5] * length for length in (3, 40, 20, 15, 2, 17, 1)]
    batches = list(batches_in_parts(sequences, rows=5, eos=1))
    shapes = [[part.tokens_BS.shape for part in parts] for parts in batches]
    assert shapes == [[(1, 64), (2, 32), (2, 16)], [(2, 16)]]
    assert [[part.indices for part in parts] for parts in batches] == [
        [[1], [2, 5], [3, 0]],
        [[4, 6]],
    ]
    for parts in batches:
        for part in parts:
            for row, index in enumerate(part.indices):
                tokens = [*sequences[index], 1]
                assert part.tokens_BS[row, : len(tokens)].tolist() == tokens
