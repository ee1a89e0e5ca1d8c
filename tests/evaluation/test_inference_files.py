"""The same bytes as SeqIO's logger, written without TensorFlow."""

import json
import subprocess
import sys

import numpy as np
import pytest
import seqio
import tensorflow as tf

from nmt5.core.errors import DataError
from nmt5.evaluation.inference_files import (
    Scored,
    append_metrics,
    metrics_path,
    read_metrics,
    write_predictions,
    write_scored,
)

TASK = "xnli_eval.de"
EXAMPLES = [
    {
        "inputs_pretokenized": f"Grüße, {i} 你好",
        "inputs": np.arange(i + 30, dtype=np.int32),
        "targets_pretokenized": "ja",
        "targets": np.array([5, 1], np.int32),
    }
    for i in range(5)
]
OUTPUTS = [[7 + i, 1, 0, 0] for i in range(5)]
PREDICTIONS = ["ja", "nein", "", "ja ", "é"]
METRICS = {"accuracy": 60.0, "f1": np.float32(0.1), "count": np.int64(5), "note": "a\nb"}


def _seqio_writes(directory, step):
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(EXAMPLES),
        output_signature={
            name: tf.TensorSpec((), tf.string)
            if isinstance(value, str)
            else tf.TensorSpec((None,), tf.int32)
            for name, value in EXAMPLES[0].items()
        },
    )
    metrics = {
        name: seqio.metrics.Text(value) if isinstance(value, str) else seqio.metrics.Scalar(value)
        for name, value in METRICS.items()
    }
    seqio.JSONLogger(str(directory / "inference_eval"))(
        task_name=TASK,
        step=step,
        metrics=metrics,
        dataset=dataset,
        inferences={"output": OUTPUTS, "prediction": PREDICTIONS},
        targets=["ja"] * 5,
    )


def test_files_are_those_of_seqio(tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    (theirs / "inference_eval").mkdir(parents=True)
    for step in (20, 1_000_000):
        _seqio_writes(theirs, step)
        append_metrics(ours, task=TASK, step=step, metrics=METRICS)
        write_scored(
            ours,
            task=TASK,
            step=step,
            examples=[
                Scored(inputs=i, target="ja", output=o, prediction=p)
                for i, o, p in zip(EXAMPLES, OUTPUTS, PREDICTIONS, strict=True)
            ],
        )
    names = sorted(path.name for path in (theirs / "inference_eval").iterdir())
    assert names == sorted(path.name for path in (ours / "inference_eval").iterdir())
    assert len(names) == 3
    for name in names:
        written, expected = (d / "inference_eval" / name for d in (ours, theirs))
        assert written.read_bytes() == expected.read_bytes()
    assert [line["step"] for line in read_metrics(theirs, task=TASK)] == [20, 1_000_000]


def test_predictions_end_with_a_mark_of_completeness(tmp_path):
    rows = [({"inputs_pretokenized": b"Hallo"}, "Hi"), ({"inputs_pretokenized": "x"}, "")]
    path = write_predictions(tmp_path, task=TASK, rows=rows)
    assert path.name == f"{TASK}-predict.jsonl-00000-of-00001"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"inputs": {"inputs_pretokenized": "Hallo"}, "prediction": "Hi"},
        {"inputs": {"inputs_pretokenized": "x"}, "prediction": ""},
    ]
    assert (tmp_path / f"{path.name}.COMPLETED").read_bytes() == b""


def test_faults(tmp_path):
    assert read_metrics(tmp_path, task=TASK) == []
    append_metrics(tmp_path, task=TASK, step=1, metrics={})
    with metrics_path(tmp_path, task=TASK).open("a") as file:
        file.write('{"accuracy": 1}\n')
    with pytest.raises(DataError, match="line 2"):
        read_metrics(tmp_path, task=TASK)
    with pytest.raises(TypeError, match="object cannot be written"):
        append_metrics(tmp_path, task=TASK, step=1, metrics={"x": object()})


def test_needs_no_tensorflow():
    code = "import sys, nmt5.evaluation.inference_files; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
