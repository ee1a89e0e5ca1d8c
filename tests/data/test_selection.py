"""Tables follow the weights, occurrences count, epochs visit every record once."""

import threading

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.data import selection
from nmt5.data.selection import EpochOrder, SelectionTable, quantised_draws, stable_key

WEIGHTS = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40)


@given(WEIGHTS)
def test_draws_follow_the_weights(weights):
    draws = quantised_draws(np.array(weights), total=4096)
    exact = np.array(weights) / sum(weights) * 4096
    assert draws.sum() == 4096 and draws.min() >= 1
    # A task below one draw gets one; all such tasks together are at most 40 draws.
    assert (np.abs(draws - exact) <= 41).all()
    if exact.min() >= 1:
        assert (np.abs(draws - exact) <= 1).all()


@given(WEIGHTS, st.integers(0, 100))
def test_occurrences_count_each_task_from_zero(weights, seed):
    table = SelectionTable(np.array(weights), seed=(seed,), total=64)
    tasks, occurrences = table.select(np.arange(200))
    counts = [0] * len(weights)
    for task, occurrence in zip(tasks.tolist(), occurrences.tolist(), strict=True):
        assert occurrence == counts[task]
        counts[task] += 1
    late, late_occurrences = table.select(np.array([150, 7]))
    assert late.tolist() == tasks[[150, 7]].tolist()
    assert late_occurrences.tolist() == occurrences[[150, 7]].tolist()


def test_full_table_is_exact():
    weights = np.arange(1, 2001.0) ** -1.0
    table = SelectionTable(weights, seed=(1,))
    tasks, _ = table.select(np.arange(selection.TABLE_DRAWS))
    found = np.bincount(tasks, minlength=2000) / selection.TABLE_DRAWS
    np.testing.assert_allclose(found, weights / weights.sum(), atol=2**-20)
    # and the order is random: the first tenth has about a tenth of the commonest task
    assert (tasks[: len(tasks) // 10] == 0).mean() == pytest.approx(found[0], rel=0.05)


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_are_none(weights):
    with pytest.raises(DataError, match="must be positive"):
        quantised_draws(np.array(weights))


def test_more_tasks_than_draws():
    with pytest.raises(DataError, match="9 tasks in a group, at most 8"):
        quantised_draws(np.ones(9), total=8)


@pytest.mark.parametrize("num_records", [1, 2, 10, 500, 20_000])
def test_an_epoch_visits_every_record_once(num_records):
    order = EpochOrder(seed=3)
    epochs = [
        [
            order.record(5, occurrence=e * num_records + i, num_records=num_records)
            for i in range(num_records)
        ]
        for e in range(2)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(num_records))
    if num_records > 2:
        assert epochs[0] != epochs[1]
        assert epochs[0] != sorted(epochs[0])


def test_orders_differ_by_seed_and_task():
    def first(seed, key):
        order = EpochOrder(seed=seed)
        return [order.record(key, occurrence=i, num_records=50) for i in range(50)]

    assert first(0, 1) == first(0, 1)
    assert first(0, 1) != first(1, 1)
    assert first(0, 1) != first(0, 2)


def test_kept_permutations_are_bounded(monkeypatch):
    monkeypatch.setattr(selection, "_KEPT_BYTES", 5000)
    order, fresh = EpochOrder(seed=0), EpochOrder(seed=0)
    for key in range(100):
        for occurrence in (0, 3):
            record = order.record(key, occurrence=occurrence, num_records=100)
            assert order._kept_bytes <= 5000
    assert record == fresh.record(99, occurrence=3, num_records=100)
    again = order.record(0, occurrence=3, num_records=100)  # was dropped, is made again
    assert again == fresh.record(0, occurrence=3, num_records=100)


def test_threads_agree():
    order, alone = EpochOrder(seed=0), EpochOrder(seed=0)
    expected = [alone.record(i % 7, occurrence=i, num_records=30) for i in range(300)]
    found = {}

    def work(name):
        found[name] = [order.record(i % 7, occurrence=i, num_records=30) for i in range(300)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(values == expected for values in found.values())
    assert order._kept_bytes == sum(selection._size(kept) for kept in order._kept.values())


def test_key_of_a_name_is_fixed():
    assert stable_key("nmt.en_fr") == stable_key("nmt.en_fr") != stable_key("nmt.fr_en")
    assert stable_key("a") == 7304431660483791845
