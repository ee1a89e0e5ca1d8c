"""Running text in pieces of any length, and numbered examples with a bounded number of files."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.data.examples import ExampleMaker, NoiseAt, Segments, noise_key
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds, write_mixture
from nmt5.data.open_groups import shared_open_files


def stored(shard_tokens, stored_tokens):
    """Records of shards of running numbers, cut into `stored_tokens`."""
    records, counts = [], []
    for shard, tokens in enumerate(shard_tokens):
        stream = np.arange(tokens) + shard * 10_000
        pieces = [(stream[i : i + stored_tokens],) for i in range(0, tokens, stored_tokens)]
        records += pieces
        counts.append(len(pieces))
    return records, counts


@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=4).filter(any),
    st.integers(1, 30),
    st.integers(1, 70),
)
def test_pieces_are_the_text_of_each_shard_in_order(shard_tokens, stored_tokens, wanted_tokens):
    # A shard of 120 ids in records of 1 is longer than the shards that are asked for their end.
    records, counts = stored(shard_tokens, stored_tokens)
    segments = Segments(
        records,
        shard_records=counts,
        stored_tokens=stored_tokens,
        wanted_tokens=wanted_tokens,
        total_tokens=sum(shard_tokens),
    )
    pieces = [segments[i][0] for i in range(len(segments))]
    assert all(0 < len(piece) <= wanted_tokens for piece in pieces)
    expected = np.concatenate(
        [np.arange(tokens) + shard * 10_000 for shard, tokens in enumerate(shard_tokens)]
    )
    np.testing.assert_array_equal(np.concatenate(pieces), expected)
    short = sum(len(piece) < wanted_tokens for piece in pieces)
    assert short <= len(shard_tokens), "only the end of a shard is shorter"


def test_the_end_of_a_long_shard_may_be_left_out():
    records, counts = stored([64 * 10, 64 * 10 - 3], 10)
    segments = Segments(
        records, shard_records=counts, stored_tokens=10, wanted_tokens=7, total_tokens=1277
    )
    read = sum(len(segments[i][0]) for i in range(len(segments)))
    assert 1277 - 2 * 10 <= read <= 1277


def test_noise_depends_on_the_number_only():
    noise, other = NoiseAt(noise_key(0, "nmt")), NoiseAt(noise_key(0, "tlm"))
    first = noise(5).random(3).tolist()
    noise(6).integers(0, 9, 5, dtype=np.int32)  # leaves half a word behind
    assert noise(5).random(3).tolist() == first
    assert noise(6).random(3).tolist() != first
    assert other(5).random(3).tolist() != first
    fresh = np.random.Generator(np.random.Philox(key=noise_key(0, "nmt"), counter=5 << 128))
    assert fresh.random(3).tolist() == first


def test_an_error_names_task_and_record():
    class Reader:
        task = TaskSpec(name="mlm.en", corpus="text.en", languages=("en",), rate=1.0)
        dictionary = None

        def segments(self, record):
            return (np.arange(10, 210, dtype=np.int32),)

    few = TokenIds(size=1000, num_sentinels=2, fingerprint="")
    group = GroupSpec(objective="span_corruption", settings={}, share=1.0, tasks=(Reader.task,))
    make = ExampleMaker(group, ids=few, inputs_length=400, targets_length=100)
    with pytest.raises(DataError, match="task 'mlm.en', record 7: span corruption: 10 spans"):
        make(Reader(), 7, rng=np.random.default_rng(0))


def test_many_corpora_under_a_low_limit_of_open_files(tmp_path, write_corpus):
    rng = np.random.default_rng(0)
    ids = TokenIds(size=1000, num_sentinels=100, fingerprint="f" * 64)
    tasks = []
    for i in range(80):
        pairs = [tuple(rng.integers(10, 900, 4) for _ in "ab") for _ in range(3)]
        write_corpus(tmp_path, f"pair{i}", ["en", "fr"], {"train": pairs}, vocabulary=ids)
        tasks.append(TaskSpec(name=f"t{i}", corpus=f"pair{i}", languages=("en", "fr"), rate=1.0))
    group = GroupSpec(objective="nmt", settings={}, share=1.0, tasks=tuple(tasks))
    mixture = Mixture(name="many", vocabulary=ids, groups=(group,))
    write_mixture(mixture, tmp_path / "many.json")
    code = f"""
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.mixture import read_mixture
config = DataConfig(mixture="many", store={str(tmp_path)!r}, inputs_length=128,
                    encoder_tokens_per_batch=2048)
feed = Feed(read_mixture({str(tmp_path / "many.json")!r}), config)
iterator = iter(feed)
tasks = sum(next(iterator).sampled[:, 0] for _ in range(4))
paths = [os.path.realpath(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")]
print((tasks > 0).sum(), sum(path.endswith(".arrayrecord") for path in paths))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen, opened = map(int, done.stdout.split())
    assert seen > 60 and opened == 32
    assert done.stderr == "", "a running prefetch thread must not complain at exit"


@pytest.mark.slow
def test_2000_tasks_run_under_256_open_files(tmp_path, write_corpus):
    ids = TokenIds(size=1000, num_sentinels=100, fingerprint="f" * 64)
    tasks = []
    for i in range(1000):
        pairs = [(np.arange(10, 14), np.arange(20, 24) + k) for k in range(2)]
        write_corpus(tmp_path, f"pair{i}", ["en", "fr"], {"train": pairs}, vocabulary=ids)
        for a, b in (("en", "fr"), ("fr", "en")):
            name = f"t{i}.{a}"
            tasks.append(TaskSpec(name=name, corpus=f"pair{i}", languages=(a, b), rate=1.0))
    group = GroupSpec(objective="nmt", settings={}, share=1.0, tasks=tuple(tasks))
    mixture = Mixture(name="many", vocabulary=ids, groups=(group,))
    write_mixture(mixture, tmp_path / "many.json")
    code = f"""
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.mixture import read_mixture
config = DataConfig(mixture="many", store={str(tmp_path)!r}, inputs_length=128,
                    encoder_tokens_per_batch=16384)
iterator = iter(Feed(read_mixture({str(tmp_path / "many.json")!r}), config))
tasks = sum(next(iterator).sampled[:, 0] for _ in range(6))
print((tasks > 0).sum(), len(os.listdir("/proc/self/fd")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen, opened = map(int, done.stdout.split())
    assert seen > 1500 and opened < 256


def test_open_files_are_limited_by_the_system_or_the_setting(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert shared_open_files(None).limit == 128
    assert shared_open_files(7).limit == 7
    monkeypatch.setattr("resource.getrlimit", lambda _: (-1, -1))
    assert shared_open_files(None).limit == 4096
