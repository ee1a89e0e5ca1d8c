"""The feed: same rows after any stop and on any number of processes, right rows, clear errors."""

import dataclasses
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError, VocabularyError
from nmt5.core.features import MODEL_FEATURES
from nmt5.data import lanes
from nmt5.data.feed import DataConfig, Feed, merge_states


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    """Windows of about 5 rows, so that a few batches cross several of them."""
    monkeypatch.setattr(lanes, "_WINDOW_ROWS", 5)


def config(store, **changes):
    settings = {"inputs_length": 32, "encoder_tokens_per_batch": 512, "prefetch_batches": 0}
    return DataConfig(mixture="small", store=str(store), **settings | changes)


def rows_of(batch):
    """All of a batch as one comparable value."""
    return {
        f"{name}/{feature}": array.tolist()
        for name, arrays in batch.arrays.items()
        for feature, array in arrays.items()
    } | {"sampled": batch.sampled.tolist(), "truncated": batch.truncated}


def take(iterator, count):
    return [rows_of(next(iterator)) for _ in range(count)]


def test_batches_have_the_planned_shapes_and_contents(small_store, small_mixture):
    feed = Feed(small_mixture, config(small_store))
    mlm, nmt = feed.layout["span_corruption"], feed.layout["nmt"]
    assert (mlm.rows, mlm.inputs_length, mlm.targets_length, mlm.raw_segment) == (8, 32, 8, 34)
    assert (nmt.rows, nmt.inputs_length, nmt.targets_length, nmt.raw_segment) == (16, 16, 16, None)
    batch = next(iter(feed))
    for name, row in feed.layout.items():
        assert tuple(batch.arrays[name]) == MODEL_FEATURES
        for feature, array in batch.arrays[name].items():
            length = row.inputs_length if feature.startswith("encoder") else row.targets_length
            assert array.shape == (row.rows, length) and array.dtype == np.int32
    full = batch.arrays["span_corruption"]
    assert (full["encoder_segment_ids"] == 1).all(), "a segment of 34 fills 32 inputs"
    assert (full["decoder_segment_ids"] == 1).all() and (full["encoder_input_tokens"] > 0).all()
    packed = batch.arrays["nmt"]
    starts = (packed["encoder_positions"] == 0) & (packed["encoder_segment_ids"] > 0)
    assert (packed["encoder_input_tokens"][starts] == 4).all(), "each pair begins with its code"
    np.testing.assert_array_equal(
        packed["encoder_segment_ids"].max(axis=1), packed["decoder_segment_ids"].max(axis=1)
    )


def test_what_was_sampled_is_what_is_in_the_rows(small_store, small_mixture):
    feed = Feed(small_mixture, config(small_store))
    assert [task.name for task in feed.tasks][:4] == ["mlm.en", "mlm.fr", "mlm.sw", "nmt.en_fr"]
    for _, batch in zip(range(5), feed, strict=False):
        first = 0
        for arrays, count in [(batch.arrays["span_corruption"], 3), (batch.arrays["nmt"], 4)]:
            group = batch.sampled[first : first + count].sum(axis=0).tolist()
            first += count
            assert group == [
                arrays["encoder_segment_ids"].max(axis=1).sum(),
                (arrays["encoder_segment_ids"] > 0).sum(),
                arrays["decoder_loss_weights"].sum(),
            ]


def test_sampling_follows_the_rates(small_store, small_mixture):
    counts = sum(
        batch.sampled for _, batch in zip(range(60), Feed(small_mixture, config(small_store)))
    )[:, 0]
    np.testing.assert_allclose(counts[:3] / counts[:3].sum(), [3 / 6, 2 / 6, 1 / 6], atol=0.07)
    np.testing.assert_allclose(counts[3:] / counts[3:].sum(), [0.4, 0.4, 0.1, 0.1], atol=0.07)


def test_an_epoch_reads_every_pair_once(small_store, small_mixture, tmp_path):
    nmt = dataclasses.replace(
        small_mixture.groups[1], share=1.0, tasks=small_mixture.groups[1].tasks[2:3]
    )
    mixture = dataclasses.replace(small_mixture, groups=(nmt,))
    feed = Feed(mixture, config(small_store, encoder_tokens_per_batch=16))
    seen = []
    for batch in feed:
        arrays = batch.arrays["nmt"]
        for row in range(len(arrays["decoder_target_tokens"])):
            for segment in range(1, arrays["decoder_segment_ids"][row].max() + 1):
                here = arrays["decoder_segment_ids"][row] == segment
                seen.append(tuple(arrays["decoder_target_tokens"][row][here].tolist()))
        if len(seen) >= 40:
            break
    # 20 pairs; packing reorders within a window, so whole windows hold whole epochs.
    counts = [seen[:40].count(pair) for pair in set(seen)]
    assert len(counts) == 20 and max(counts) <= 4


@pytest.mark.parametrize("prefetch", [0, 2])
def test_stop_and_restore_at_every_position(small_store, small_mixture, prefetch):
    settings = config(small_store, prefetch_batches=prefetch)
    unbroken = take(iter(Feed(small_mixture, settings)), 12)
    assert all(a != b for a, b in zip(unbroken, unbroken[1:], strict=False))
    iterator = iter(Feed(small_mixture, settings))
    states = [iterator.get_state()]
    for _ in range(9):
        next(iterator)
        states.append(json.loads(json.dumps(iterator.get_state())))
    assert len({len(json.dumps(state)) // 100 for state in states}) == 1, "constant size"
    fresh = iter(Feed(small_mixture, settings))
    for position, state in enumerate(states):
        fresh.set_state(state)
        assert take(fresh, 3) == unbroken[position : position + 3], position
        assert fresh.get_state()["step"] == position + 3


def test_one_then_four_then_two_processes_give_the_same_rows(small_store, small_mixture):
    settings = config(small_store)
    unbroken = take(iter(Feed(small_mixture, settings, rows_multiple=4)), 9)
    state, found = None, []
    for count in (1, 4, 2):
        iterators = [
            iter(
                Feed(small_mixture, settings, rows_multiple=4, process_index=i, process_count=count)
            )
            for i in range(count)
        ]
        if state is not None:
            for iterator in iterators:
                iterator.set_state(state)
        for _ in range(3):
            parts = [rows_of(next(iterator)) for iterator in iterators]
            joined = {}
            for key in parts[0]:
                if key == "sampled":
                    joined[key] = sum(np.array(part[key]) for part in parts).tolist()
                elif key == "truncated":
                    joined[key] = sum(part[key] for part in parts)
                else:
                    joined[key] = [row for part in parts for row in part[key]]
            found.append(joined)
        state = json.loads(json.dumps(merge_states([it.get_state() for it in iterators])))
    assert found == unbroken


def test_another_batch_size_goes_on_at_the_same_place(small_store, small_mixture):
    """Rows per batch are no part of the stream: each lane goes on where it was."""
    small = Feed(small_mixture, config(small_store, lanes=2))
    large = Feed(small_mixture, config(small_store, lanes=2, encoder_tokens_per_batch=1024))
    iterator = iter(small)
    take(iterator, 3)
    state = iterator.get_state()
    later = [next(iterator).arrays["nmt"]["encoder_input_tokens"] for _ in range(2)]
    resumed = iter(large)
    resumed.set_state(state)
    rows = next(resumed).arrays["nmt"]["encoder_input_tokens"]
    lanes = [np.concatenate([batch[lane * 8 : lane * 8 + 8] for batch in later]) for lane in (0, 1)]
    np.testing.assert_array_equal(rows, np.concatenate(lanes))


def test_seed_changes_order_and_noise(small_store, small_mixture):
    first, same, other = (
        take(iter(Feed(small_mixture, config(small_store, seed=seed))), 2) for seed in (0, 0, 1)
    )
    assert first == same != other


def test_later_epochs_have_other_noise(small_store, small_mixture):
    group = dataclasses.replace(
        small_mixture.groups[0], share=1.0, tasks=small_mixture.groups[0].tasks[2:]
    )
    mixture = dataclasses.replace(small_mixture, groups=(group,))
    feed = Feed(mixture, config(small_store, encoder_tokens_per_batch=96))  # 3 rows, 3 segments
    batches = [rows["span_corruption/encoder_input_tokens"] for rows in take(iter(feed), 4)]
    assert len({str(sorted(batch)) for batch in batches}) == 4


def test_stored_segments_of_another_length_are_cut_or_joined(small_mixture, tmp_path, write_corpus):
    stream = np.arange(1000) % 890 + 10
    records = [(stream[i : i + 100],) for i in range(0, 1000, 100)]
    write_corpus(tmp_path, "text.en", ["en"], {"train": records}, segment_tokens=100)
    group = dataclasses.replace(
        small_mixture.groups[0], share=1.0, tasks=small_mixture.groups[0].tasks[:1]
    )
    mixture = dataclasses.replace(small_mixture, groups=(group,))
    for inputs_length in (32, 256):
        feed = Feed(mixture, config(tmp_path, inputs_length=inputs_length))
        fill = [
            (batch.arrays["span_corruption"]["encoder_segment_ids"] > 0).mean()
            for _, batch in zip(range(20), feed, strict=False)
        ]
        # 1,000 ids make 30 pieces of 34 (the last shorter) or 4 of 284
        assert np.mean(fill) > (0.97 if inputs_length == 32 else 0.85)
        assert next(iter(feed)).truncated == 0


def test_threads_share_a_feed(small_store, small_mixture):
    feed = Feed(small_mixture, config(small_store))
    expected = take(iter(feed), 4)
    found = []
    threads = [threading.Thread(target=lambda: found.append(take(iter(feed), 4))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_share_of_tokens_and_rows_multiple(small_store, small_mixture):
    groups = tuple(
        dataclasses.replace(group, share=share)
        for group, share in zip(small_mixture.groups, (0.9, 0.1), strict=True)
    )
    mixture = dataclasses.replace(small_mixture, groups=groups)
    layout = Feed(mixture, config(small_store, encoder_tokens_per_batch=32 * 200)).layout
    assert (layout["span_corruption"].rows, layout["nmt"].rows) == (180, 40)
    assert layout["nmt"].share == pytest.approx(0.1)
    feed = Feed(mixture, config(small_store, encoder_tokens_per_batch=320), rows_multiple=8)
    assert (feed.layout["span_corruption"].rows, feed.layout["nmt"].rows) == (8, 8)
    assert feed.layout["nmt"].share == pytest.approx(1 / 3)
    assert "33.33%  10.00%" in feed.describe()


def test_missing_and_empty_corpora_are_listed_together(
    small_store, small_mixture, tmp_path, write_corpus
):
    with pytest.raises(DataError, match="3 of 3 tasks of 'span_corruption'.*\n.*task 'mlm.en'"):
        Feed(small_mixture, config(tmp_path))
    with pytest.raises(DataError, match="unknown split 'dev'; for example 'train'"):
        Feed(small_mixture, config(small_store), split="dev")
    write_corpus(tmp_path, "text.en", ["en"], {"train": []}, segment_tokens=34)
    with pytest.raises(DataError, match="corpus 'text.en' has no record in this split"):
        Feed(small_mixture, config(tmp_path))


def test_wrong_languages_and_wrong_kind(small_store, small_mixture):
    mlm, nmt = small_mixture.groups
    wrong = dataclasses.replace(nmt.tasks[0], corpus="pair.en-sw")
    mixture = dataclasses.replace(
        small_mixture, groups=(mlm, dataclasses.replace(nmt, tasks=(wrong,)))
    )
    with pytest.raises(DataError, match=r"'nmt.en_fr': languages \['en', 'fr'\], but corpus"):
        Feed(mixture, config(small_store))
    wrong = dataclasses.replace(nmt, tasks=mlm.tasks)
    with pytest.raises(ConfigError, match="task 'mlm.en' has languages.*objective 'nmt' takes 2"):
        Feed(
            dataclasses.replace(small_mixture, groups=(dataclasses.replace(wrong, share=1.0),)),
            config(small_store),
        )


def test_another_vocabulary(small_store, small_mixture):
    ids = dataclasses.replace(small_mixture.vocabulary, fingerprint="e" * 64)
    with pytest.raises(VocabularyError, match="made with vocabulary ffffffffffff .*eeeeeeeeeeee"):
        Feed(dataclasses.replace(small_mixture, vocabulary=ids), config(small_store))


def test_a_state_of_another_stream_is_refused(small_store, small_mixture):
    state = iter(Feed(small_mixture, config(small_store, seed=1))).get_state()
    iterator = iter(Feed(small_mixture, config(small_store)))
    with pytest.raises(ConfigError, match="'nmt' seed 1, expected 0"):
        iterator.set_state(state)
    rates = dataclasses.replace(small_mixture.groups[1].tasks[0], rate=9.0)
    tasks = (rates, *small_mixture.groups[1].tasks[1:])
    groups = (small_mixture.groups[0], dataclasses.replace(small_mixture.groups[1], tasks=tasks))
    other = Feed(dataclasses.replace(small_mixture, groups=groups), config(small_store))
    with pytest.raises(ConfigError, match="'nmt' text .*, expected"):
        iterator.set_state(iter(other).get_state())


def test_lanes_that_do_not_fit(small_store, small_mixture):
    with pytest.raises(ConfigError, match="lanes = 3 does not divide the 8 rows"):
        Feed(small_mixture, config(small_store, lanes=3))
    with pytest.raises(ConfigError, match="in 8 lanes for 3 processes"):
        Feed(small_mixture, config(small_store), process_count=3)
    part = Feed(small_mixture, config(small_store), process_index=1, process_count=2)
    whole = iter(Feed(small_mixture, config(small_store)))
    with pytest.raises(ConfigError, match="has no lane 0; join the states"):
        whole.set_state(iter(part).get_state())
    with pytest.raises(ConfigError, match="process 2 of 2"):
        Feed(small_mixture, config(small_store), process_index=2, process_count=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs_length": 2}, "inputs_length = 2, expected an integer of at least 4"),
        ({"encoder_tokens_per_batch": 0}, "encoder_tokens_per_batch = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"row_lengths": {"nmtt": (8, 8)}}, "unknown objective 'nmtt'; nearest: 'nmt'"),
        ({"row_lengths": {"nmt": (8, 1)}}, "both at least 2"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(ConfigError, match=message):
        config("nowhere", **changes)


def test_import_brings_neither_tensorflow_nor_seqio():
    code = (
        "import sys, nmt5.data.feed; "
        "print([m for m in ('tensorflow', 'seqio', 'gin', 'apache_beam') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
