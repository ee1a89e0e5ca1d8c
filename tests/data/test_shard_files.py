from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import DataError, StorageError
from nmt5.data import shard_files, store

ids = st.lists(st.integers(0, 256_299), max_size=40)


def ends_of(bodies):
    """Where each ends in all of them together, in int32 values."""
    return np.cumsum([len(body) // 4 for body in bodies])


@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=40), st.integers(1, 17))
def test_groups_give_every_example_back(examples, each):
    bodies = [shard_files.encode_record([np.array(s, np.int32) for s in e]) for e in examples]
    records = list(shard_files.group_records(b"".join(bodies), ends_of(bodies), each=each))
    assert len(records) == -(-len(examples) // each)
    for index, expected in enumerate(examples):
        found = shard_files.example_of_group(records[index // each], index % each)
        assert tuple(side.tolist() for side in found) == expected


def write_groups(root, num_pairs, *, each):
    """Writes a corpus of `num_pairs` pairs in two files, pair i being ([i], [i, i])."""
    (root / "a").mkdir(parents=True)
    shards = []
    for number, part in enumerate(np.array_split(np.arange(num_pairs), 2)):
        file = f"train-{number}.arrayrecord"
        bodies = [shard_files.encode_record([np.array([i]), np.array([i, i])]) for i in part]
        written = shard_files.write_records(
            str(root / "a" / file),
            shard_files.group_records(b"".join(bodies), ends_of(bodies), each=each),
            options=shard_files.GROUPED_WRITER_OPTIONS,
        )
        assert written == -(-len(part) // each)
        shards.append(store.ShardInfo(file=file, num_records=len(part), sha256=""))
    split = store.SplitInfo(
        num_records=num_pairs,
        examples=num_pairs,
        tokens={"de": num_pairs, "en": 2 * num_pairs},
        dropped={},
        cut=0,
        lengths={},
        shards=tuple(shards),
    )
    info = store.CorpusInfo(
        name="a",
        languages=("de", "en"),
        vocabulary="f" * 64,
        vocabulary_size=300,
        segment_tokens=None,
        source="",
        splits={"train": split},
        examples_per_record=each,
    )
    store.write_corpus_info(root, info)


@pytest.mark.parametrize("num_pairs", [2, 31, 32, 33, 70])
def test_any_pair_of_a_grouped_file_is_read_by_its_number(tmp_path, num_pairs):
    write_groups(tmp_path, num_pairs, each=16)
    split = store.open_split(tmp_path, "a", "train")
    assert len(split) == num_pairs
    for index in np.random.default_rng(0).permutation(num_pairs).tolist():
        assert [side.tolist() for side in split[index]] == [[index], [index, index]]


def test_groups_read_as_single_examples_are_an_error_not_other_text(tmp_path):
    write_groups(tmp_path, 40, each=16)
    info = store.read_corpus_info(tmp_path, "a")
    split = store.StoredSplit(str(tmp_path / "a"), info.splits["train"], examples_per_record=1)
    with pytest.raises(DataError, match=r"2 records, expected 20"):
        split[0]


def test_a_store_of_the_first_format_is_named_with_its_remedy(tmp_path):
    write_groups(tmp_path, 4, each=16)
    path = tmp_path / "a" / store.CORPUS_FILE
    path.write_text(path.read_text().replace(f'"format": {store.FORMAT}', '"format": 1'))
    with pytest.raises(DataError, match=r"format 1, expected 2; delete .* run `nmt5 prepare`"):
        store.read_corpus_info(tmp_path, "a")


def test_a_directory_that_is_missing_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"no/x\.arrayrecord"):
        shard_files.write_records(
            str(tmp_path / "no" / "x.arrayrecord"), [b"1"], options="group_size:1"
        )
