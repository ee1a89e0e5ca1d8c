from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import StorageError
from nmt5.data import runs


def block_of(examples, *, seed=3, first=0):
    return runs.Block(
        runs.position_keys(seed, first, len(examples)),
        np.array([len(e) for e in examples], np.int64),
        np.array([v for e in examples for v in e], np.int32),
    )


def examples_of(block):
    block = block.in_key_order()
    return [part.tolist() for part in np.split(block.values, np.cumsum(block.lengths))[:-1]]


def test_keys_are_stable_and_do_not_depend_on_batches():
    assert runs.name_seed("corpus", "train", 3) == runs.name_seed("corpus", "train", 3)
    assert runs.name_seed("a", "bc") != runs.name_seed("ab", "c")
    whole = runs.position_keys(99, 0, 10)
    parts = [runs.position_keys(99, 0, 4), runs.position_keys(99, 4, 6)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert len(np.unique(runs.position_keys(2**64 - 1, 0, 10_000))) == 10_000


@given(st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=30), st.integers(1, 7))
def test_shards_of_several_runs_hold_every_example_once_in_key_order(tmp_path_factory, examples, n):
    directory = tmp_path_factory.mktemp("runs")
    half = len(examples) // 2
    runs.write_run(directory / "0", block_of(examples[:half]))
    runs.write_run(directory / "1", block_of(examples[half:], first=half))
    found = []
    for shard in range(n):
        parts = [runs.read_run(directory / r, shard=shard, num_shards=n) for r in "01"]
        found += examples_of(runs.concatenate(parts))
    # Ranges of keys in order, sorted within each: the same as sorting everything at once.
    assert found == examples_of(block_of(examples))


def test_order_is_shuffled():
    order = examples_of(block_of([[i] for i in range(1000)]))
    assert order != sorted(order) and sorted(order) == [[i] for i in range(1000)]
    places = np.array(order).ravel()
    assert abs(np.corrcoef(np.arange(1000), places)[0, 1]) < 0.1


def test_unwritable_and_missing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where a directory"):
        runs.write_run(tmp_path / "file" / "run", block_of([[1]]))
    with pytest.raises(StorageError, match="does not exist"):
        runs.read_run(tmp_path / "none", shard=0, num_shards=1)
