import concurrent.futures
import hashlib
import os
import pickle
import subprocess
import sys

from array_record.python import array_record_module
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import DataError, StorageError
from nmt5.data import store

ids = st.lists(st.integers(0, 256_299), max_size=40)


def write_corpus(root, name, records_by_shard, *, languages=("de", "en")):
    directory = root / name
    directory.mkdir(parents=True)
    shards = []
    for k, records in enumerate(records_by_shard):
        file = f"train-{k:05d}-of-{len(records_by_shard):05d}.arrayrecord"
        writer = array_record_module.ArrayRecordWriter(
            str(directory / file), store.PAIR_WRITER_OPTIONS
        )
        for sequences in records:
            writer.write(store.encode_record([np.array(s, np.int32) for s in sequences]))
        writer.close()
        digest = hashlib.sha256((directory / file).read_bytes()).hexdigest()
        shards.append(store.ShardInfo(file=file, num_records=len(records), sha256=digest))
    total = sum(map(len, records_by_shard))
    split = store.SplitInfo(
        num_records=total,
        examples=total,
        tokens={
            language: sum(len(r[side]) for shard in records_by_shard for r in shard)
            for side, language in enumerate(languages)
        },
        dropped={},
        cut=0,
        lengths={},
        shards=tuple(shards),
    )
    info = store.CorpusInfo(
        name=name,
        languages=languages,
        vocabulary="f" * 64,
        vocabulary_size=300,
        segment_tokens=None,
        source="s" * 64,
        splits={"train": split},
    )
    store.write_corpus_info(root, info)
    return info


def pairs(first, count):
    return [([first + i] * (1 + i % 3), [first + i, 7]) for i in range(count)]


@given(st.lists(ids, min_size=1, max_size=3))
def test_record_round_trip(sequences):
    record = store.encode_record([np.array(s, np.int32) for s in sequences])
    assert [s.tolist() for s in store.decode_record(record)] == sequences


def test_decoded_ids_are_int32_and_cannot_be_written():
    (decoded,) = store.decode_record(store.encode_record([np.arange(3)]))
    assert decoded.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        decoded[0] = 1


def test_corpus_info_round_trip_and_records_in_order_over_shards(tmp_path):
    info = write_corpus(tmp_path, "a", [pairs(10, 5), pairs(100, 1), pairs(200, 20)])
    assert store.read_corpus_info(tmp_path, "a") == info
    split = store.open_split(tmp_path, "a", "train")
    assert len(split) == 26
    expected = pairs(10, 5) + pairs(100, 1) + pairs(200, 20)
    assert [tuple(s.tolist() for s in record) for record in split] == expected
    with pytest.raises(IndexError):
        split[26]
    with pytest.raises(IndexError):
        split[-1]
    assert info.splits["train"].mean_tokens("en") == 2.0


def test_length_needs_no_file(tmp_path):
    write_corpus(tmp_path, "a", [pairs(10, 5)])
    files = store.OpenFiles(4)
    split = store.open_split(tmp_path, "a", "train", open_files=files)
    for shard in (tmp_path / "a").glob("*.arrayrecord"):
        shard.unlink()
    assert len(split) == 5 and len(files) == 0
    with pytest.raises(DataError, match=r"train-00000-of-00001.*does not exist.*nmt5 prepare"):
        split[0]


def num_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_descriptors_are_bounded_over_many_corpora_and_threads(tmp_path):
    names = [f"c{k:03d}" for k in range(40)]
    for k, name in enumerate(names):
        write_corpus(tmp_path, name, [pairs(k * 10, 3), pairs(k * 10 + 3, 3)])
    files = store.OpenFiles(6)
    splits = [store.open_split(tmp_path, name, "train", open_files=files) for name in names]
    before = num_descriptors()

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(200):
            corpus, record = int(rng.integers(40)), int(rng.integers(6))
            first = splits[corpus][record][1][0]
            assert first == corpus * 10 + record
        return num_descriptors()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        most = max(pool.map(read, range(4)))
    assert len(files) == 6
    assert num_descriptors() - before == 6
    assert most - before <= 6 + 4 + 4  # readers held, one in use per thread, listings of /proc


def test_split_survives_pickling(tmp_path):
    write_corpus(tmp_path, "a", [pairs(10, 5)])
    split = store.open_split(tmp_path, "a", "train", open_files=store.OpenFiles(1))
    split[0]
    again = pickle.loads(pickle.dumps(split))
    assert [s.tolist() for s in again[3]] == [s.tolist() for s in split[3]]


def test_missing_corpus_names_directory_remedy_and_nearest(tmp_path):
    write_corpus(tmp_path, "opus.en-fr", [pairs(10, 1)])
    (tmp_path / "opus.en-frr").mkdir()  # half prepared: it does not exist
    with pytest.raises(DataError) as error:
        store.open_split(tmp_path, "opus.en-frr", "train")
    message = str(error.value)
    assert str(tmp_path / "opus.en-frr" / "corpus.json") in message
    assert "nmt5 prepare" in message and "nearest: 'opus.en-fr'" in message
    assert store.list_corpora(tmp_path) == ["opus.en-fr"]
    with pytest.raises(DataError, match="none is known"):
        store.read_corpus_info(tmp_path / "nowhere", "a")


def test_missing_split_and_remote_store(tmp_path):
    write_corpus(tmp_path, "a", [pairs(10, 1)])
    with pytest.raises(DataError, match="unknown split 'training'; nearest: 'train'"):
        store.open_split(tmp_path, "a", "training")
    with pytest.raises(StorageError, match="local disk"):
        store.open_split("gs://bucket/store", "a", "train")


@pytest.mark.parametrize("kept_bytes", [0, 100, 70_000])
def test_truncated_shard(tmp_path, kept_bytes):
    info = write_corpus(tmp_path, "a", [pairs(10, 500)])
    shard = tmp_path / "a" / info.splits["train"].shards[0].file
    shard.write_bytes(shard.read_bytes()[:kept_bytes])
    with pytest.raises(DataError, match=r"train-00000-of-00001.*nmt5 prepare"):
        store.open_split(tmp_path, "a", "train")[0]
    with pytest.raises(DataError, match="was altered"):
        store.verify_corpus(tmp_path, "a")


def test_flipped_byte_is_found_by_reading_and_by_verify(tmp_path):
    info = write_corpus(tmp_path, "a", [pairs(10, 500), pairs(1000, 3)])
    store.verify_corpus(tmp_path, "a")
    shard = tmp_path / "a" / info.splits["train"].shards[0].file
    content = bytearray(shard.read_bytes())
    content[300] ^= 1
    shard.write_bytes(bytes(content))
    split = store.open_split(tmp_path, "a", "train")
    with pytest.raises(DataError, match="cannot be read"):
        for record in range(500):
            split[record]
    with pytest.raises(DataError, match=r"train-00000-of-00002.arrayrecord was altered"):
        store.verify_corpus(tmp_path, "a")


@pytest.mark.parametrize("text", ['{"format": 99}', '{"format": 1, "name": "a"}', "[]"])
def test_other_formats_are_named(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "corpus.json").write_text(text)
    with pytest.raises(DataError, match=r"corpus\.json"):
        store.read_corpus_info(tmp_path, "a")


def test_imports_neither_tensorflow_nor_seqio_nor_beam():
    code = (
        "import sys, nmt5.data.store;"
        "print([m for m in ('tensorflow', 'seqio', 'apache_beam', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
