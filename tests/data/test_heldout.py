"""Held-out batches: every record once, the same noise in every run, the last batch padded."""

import dataclasses
import logging

import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.core.features import MODEL_FEATURES
from nmt5.data.feed import heldout_batches
from nmt5.data.layout import DataConfig
from nmt5.data.store import open_split


def config(store, **changes):
    return DataConfig(mixture="small", store=str(store), **{"inputs_length": 32} | changes)


def test_one_pass_over_every_task(small_store, small_mixture, caplog):
    with caplog.at_level(logging.WARNING):
        batches = list(heldout_batches(small_mixture, config(small_store), rows=8))
    assert "2 tasks of 'small' have no 'validation'" in caplog.text
    names = {task.name: objective for task, objective, _ in batches}
    assert names == {
        **dict.fromkeys(["mlm.en", "mlm.fr", "mlm.sw"], "span_corruption"),
        **dict.fromkeys(["nmt.en_fr", "nmt.fr_en"], "nmt"),
    }
    for _, _, arrays in batches:
        assert tuple(arrays) == MODEL_FEATURES
        assert all(array.shape[0] == 8 for array in arrays.values())
    mlm = [arrays for task, _, arrays in batches if task.name == "mlm.en"]
    assert len(mlm) == 1, "3 segments, one per row, and 5 empty rows"
    assert (mlm[0]["encoder_segment_ids"].max(axis=1) == [1, 1, 1, 0, 0, 0, 0, 0]).all()
    pairs = open_split(small_store, "pair.en-fr", "validation")
    found = [arrays for task, _, arrays in batches if task.name == "nmt.fr_en"]
    targets = np.concatenate([arrays["decoder_target_tokens"].ravel() for arrays in found])
    expected = np.concatenate([[*english, 1] for english, _ in pairs])
    assert sorted(targets[targets > 0]) == sorted(expected)


def test_noise_is_fixed(small_store, small_mixture):
    first, second = (
        [arrays["encoder_input_tokens"].tolist() for _, _, arrays in batches]
        for batches in (
            heldout_batches(small_mixture, config(small_store, seed=seed), rows=4)
            for seed in (0, 9)
        )
    )
    assert first == second


def test_a_limit_gives_the_beginning(small_store, small_mixture):
    def batches(limit):
        found = {}
        for task, _, arrays in heldout_batches(
            small_mixture, config(small_store), rows=2, max_batches_per_task=limit
        ):
            found.setdefault(task.name, []).append(arrays["decoder_target_tokens"].tolist())
        return found

    everything, limited = batches(None), batches(1)
    assert max(map(len, everything.values())) > 1
    assert limited == {name: found[:1] for name, found in everything.items()}


def test_no_task_with_the_split(small_store, small_mixture):
    nmt = small_mixture.groups[1]
    nmt = dataclasses.replace(nmt, share=1.0, tasks=nmt.tasks[2:])
    mixture = dataclasses.replace(small_mixture, groups=(nmt,))
    with pytest.raises(DataError, match="no task has text in split 'validation'"):
        next(heldout_batches(mixture, config(small_store), rows=2))
