"""Metric files of runs that were killed and went on."""

import json

from nmt5.training.metrics import JsonLinesWriter, TensorBoardWriter, read_metrics


def _write(path, steps, *, resumed_at):
    writer = JsonLinesWriter(path, resumed_at=resumed_at)
    for step in steps:
        writer.write(step, {"train/loss": step / 2, "bad": float("nan")})
    writer.close()


def test_resumed_file_reads_as_if_never_stopped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _write(path, [1, 2, 3], resumed_at=0)
    with path.open("a") as file:
        file.write('{"step": 4, "train/lo')  # killed here; the last checkpoint was at 2
    _write(path, [3, 4], resumed_at=2)
    lines = read_metrics(path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["train/loss"] == 0.5
    # Not a number is no JSON; every reader of JSON can read the file.
    assert lines[0]["bad"] is None
    assert all(isinstance(json.loads(text), dict) for text in path.read_text().splitlines())


def test_missing_file_has_no_lines(tmp_path):
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_tensorboard_events_appear_with_the_first_number(tmp_path):
    writer = TensorBoardWriter(tmp_path / "tensorboard", resumed_at=0)
    assert not (tmp_path / "tensorboard").exists()
    writer.write(1, {"train/loss": 1.0})
    writer.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()
