"""Runs whose numbers go bad: counted, ended, and the batch kept to look at."""

import math

import jax
import numpy as np
import pytest

from nmt5.core import features
from nmt5.core.errors import DataError, StorageError
from nmt5.data.saved_batch import read_batch, saved_rows, write_batch
from nmt5.training.bad_numbers import BadNumbers, BadNumbersError

NAN = float("nan")


def _group(rows, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 90, (rows, 6)).astype(np.int32)
    segments = np.tile(np.array([1, 1, 1, 2, 2, 0], np.int32), (rows, 1))
    segments[-1] = 0  # a row without text
    return {
        features.ENCODER_INPUT_TOKENS: ids,
        features.ENCODER_SEGMENT_IDS: segments,
        features.DECODER_TARGET_TOKENS: ids + 1,
        features.DECODER_SEGMENT_IDS: segments,
    }


def _judge(bad, losses, *, batch=None):
    """Returns the steps that were spikes; NaN stands for a step that is not finite."""
    return [
        step
        for step, loss in enumerate(losses, 1)
        if bad.judge(step, loss=loss, is_finite=math.isfinite(loss), batch=batch or {})
    ]


def _bad(directory, *, max_in_a_row=3, spike_factor=None):
    return BadNumbers(
        directory, max_in_a_row=max_in_a_row, spike_factor=spike_factor, facts={"mixture": "toy"}
    )


def test_third_bad_step_in_a_row_ends_the_run_and_saves_its_batch(tmp_path):
    bad = _bad(tmp_path)
    _judge(bad, [1.0, NAN, NAN, 1.0, NAN, NAN])
    assert bad.in_a_row == 2
    sharding = jax.sharding.NamedSharding(
        jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)),
        jax.sharding.PartitionSpec("data"),
    )
    group = _group(8, 0)
    batch = {"nmt": jax.device_put(group, sharding)}
    with pytest.raises(BadNumbersError) as caught:
        bad.judge(7, loss=NAN, is_finite=False, batch=batch)
    path = tmp_path / "bad_batch_7.npz"
    assert "step 7: 3 batches in a row gave a loss or gradient that is not finite" in str(
        caught.value
    )
    assert f"`nmt5 show --batch {path}`" in str(caught.value)
    arrays, facts = read_batch(path)
    assert facts == {"step": 7, "loss": "nan", "mixture": "toy"}
    for name, array in group.items():
        np.testing.assert_array_equal(arrays["nmt"][name], array, strict=True)


def test_spikes_are_judged_by_the_running_median_if_asked(tmp_path):
    losses = [*[2.0, 4.0] * 12, 9.1, 3.0, 8.9]
    assert _judge(_bad(tmp_path, spike_factor=3.0), losses) == [25]
    assert _judge(_bad(tmp_path), losses) == []
    # The first losses of a run are no measure.
    assert _judge(_bad(tmp_path, spike_factor=3.0), [1.0, 100.0, 1.0]) == []


def test_spikes_in_a_row_end_the_run(tmp_path):
    bad = _bad(tmp_path, spike_factor=3.0)
    with pytest.raises(BadNumbersError, match=r"step 24: .* above 3 times the median of the last"):
        _judge(bad, [1.0] * 21 + [50.0, NAN, 60.0], batch={})


def test_a_full_disk_does_not_hide_why_the_run_ended(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise StorageError("the disk is full")

    monkeypatch.setattr("nmt5.training.bad_numbers.write_batch", full)
    bad = _bad(tmp_path, max_in_a_row=1)
    with pytest.raises(BadNumbersError, match="not finite; the last of them could not be saved"):
        bad.judge(1, loss=NAN, is_finite=False, batch={})


def test_rows_of_a_saved_batch_without_padding():
    rows = list(saved_rows({"nmt": _group(3, 1)}))
    assert len(rows) == 2  # the third has no text
    group = _group(3, 1)
    assert [segment.tolist() for segment in rows[1].inputs] == [
        group[features.ENCODER_INPUT_TOKENS][1, :3].tolist(),
        group[features.ENCODER_INPUT_TOKENS][1, 3:5].tolist(),
    ]
    assert rows[1].padding == (1, 1)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_files_that_are_no_batch(tmp_path, content):
    path = tmp_path / "batch.npz"
    if content is None:
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"batch\.npz: not a batch that a run saved"):
        read_batch(path)
    with pytest.raises(StorageError, match=r"none\.npz: No such file"):
        read_batch(tmp_path / "none.npz")


def test_batch_of_a_directory_that_is_gone(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_batch(tmp_path / "file" / "batch.npz", {"nmt": _group(2, 0)}, facts={})
