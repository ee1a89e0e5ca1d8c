"""Outputs on a task as T5X's infer leaves them."""

import json
import pathlib

import pytest

from nmt5.core.errors import ConfigError
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.benchmarks import table
from nmt5.evaluation.task_config import TaskConfig, resolve_task
from nmt5.evaluation.task_inference import infer_task
from nmt5.evaluation.task_runner import TaskEvaluation


@pytest.fixture
def infer(monkeypatch, run_directory, vocabulary, tmp_path):
    monkeypatch.setattr(table, "_added", {})
    lines = ["inputs\ttargets", "Enter a valid date.\tBitte", "Enter\tBitte eine ganze Zahl"]
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n")
    task = TaskConfig(
        name="mine", files={"test": str(tmp_path / "a.tsv")}, inputs_tokens=4, targets_tokens=4
    )

    def call(checkpoint=run_directory, **wanted):
        said = []
        paths = infer_task(
            checkpoint,
            benchmark=resolve_task(task, register=lambda: None),
            task=task,
            wanted=TaskEvaluation(**wanted),
            vocabulary=vocabulary,
            output_dir=tmp_path / "out",
            decoding=DecodingConfig(),
            say=said.append,
        )
        return paths, said

    return call


def test_a_complete_file_is_not_made_again(infer, tmp_path):
    (path,), said = infer()
    assert path == str(tmp_path / "out" / "mine-predict.jsonl-00000-of-00001")
    rows = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    assert [list(row) for row in rows] == [["inputs", "prediction"]] * 2
    assert rows[0]["inputs"] == {
        "inputs_pretokenized": "Enter a valid date.",
        "targets_pretokenized": "Bitte",
    }
    assert rows[0]["prediction"] and isinstance(rows[1]["prediction"], str)
    assert said[-1].startswith("mine, test: 2 examples, ") and "1 inputs cut" in said[-1]
    again, said = infer(checkpoint="not/there")
    assert again == [path] and said == [f"{path} is complete already; remove it and its mark to "
                                        "decode again"]  # fmt: skip
    (tmp_path / "out" / "mine-predict.jsonl-00000-of-00001.COMPLETED").unlink()
    infer(max_examples=1)
    assert len(pathlib.Path(path).read_text().splitlines()) == 1


def test_a_split_that_is_not_there(infer):
    with pytest.raises(ConfigError, match="mine: unknown split 'tset'; nearest: 'test'"):
        infer(split="tset")
