"""What `nmt5 infer` and `nmt5 evaluate` make of T5X's macros; the work itself is tested below."""

import json

import gin
import pytest

from nmt5.cli import main
from nmt5.cli.evaluate_command import by_step
from nmt5.core.errors import ConfigError
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def gin_is_open_again():
    """A command line that was read locks gin, and t5's import in a later test adds to it."""
    yield
    gin.clear_config()


OF_TASK = ("--gin.MIXTURE_OR_TASK_NAME=xsid_intent", "--gin.CHECKPOINT_PATH=a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (OF_TASK, "INFER_OUTPUT_DIR must be set: where the outputs on MIXTURE_OR_TASK_NAME=xsid"),
        ((*OF_TASK, "--checkpoint=b"), "one checkpoint, .* found b, a"),
        (("--gin.INFER_OUTPUT_DIR=c",), "--checkpoint or CHECKPOINT_PATH; found none"),
        (("--gin.CHECKPOINT_PATH=('a', 'b')",), "one checkpoint"),
        (
            (*OF_TASK, "--gin.INFER_OUTPUT_DIR=c", "--column=1", "--jsonl"),
            "--column, --jsonl are for lines",
        ),
    ],
)
def test_what_does_not_go_together_is_named(words, message):
    with pytest.raises(ConfigError, match=message):
        main.run(["infer", "--gin.Workspace.vocabulary=bytes", *words])


def test_checkpoints_of_a_list_are_told_apart_by_their_steps():
    paths = ["r/checkpoint_20", "r/checkpoint_9"]
    assert list(by_step(paths)) == ["checkpoint_20", "checkpoint_9"]
    with pytest.raises(ConfigError, match="'runs/a' has no step in its name"):
        by_step(["runs/a"])
    with pytest.raises(ConfigError, match="'s/checkpoint_9' has the step of another one"):
        by_step([*paths, "s/checkpoint_9"])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, save_untrained):
    """Two checkpoints of one run of a tiny model over bytes."""
    run, vocabulary = tmp_path_factory.mktemp("run"), Vocabulary.load("bytes")
    for step in (3, 20):
        save_untrained(run, vocabulary=vocabulary, rows=384, step=step, seed=step)
    return [str(run / "checkpoints" / f"checkpoint_{step}") for step in (3, 20)]


def test_a_list_is_evaluated_into_one_directory_and_a_task_inferred(checkpoints, tmp_path):
    (tmp_path / "a.tsv").write_text("inputs\ttargets\nEnter\tBitte\n")
    common = (
        "--gin.Workspace.vocabulary=bytes",
        f"--gin.TaskConfig.files={ {'test': str(tmp_path / 'a.tsv')} }",
        "--gin.MIXTURE_OR_TASK_NAME=mine",
        "--gin.TaskConfig.targets_tokens=3",
        "--gin.Evaluation.num_draws=2",
    )
    scores = tmp_path / "scores"
    words = (f"--gin.CHECKPOINT_PATH={checkpoints}", f"--gin.EVAL_OUTPUT_DIR='{scores}'")
    assert not main.run(["evaluate", *common, *words])
    files = scores / "inference_eval"
    lines = (files / "mine-metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 20]
    assert (files / "mine-000003.jsonl").exists() and (files / "mine-000020.jsonl").exists()
    assert sorted(path.parent.name for path in scores.rglob("task_scores.json")) == [
        *("checkpoint_20", "checkpoint_3")
    ]
    output = tmp_path / "inferred"
    words = (f"--gin.CHECKPOINT_PATH='{checkpoints[1]}'", f"--gin.INFER_OUTPUT_DIR='{output}'")
    assert not main.run(["infer", *common, *words])
    (row,) = (output / "mine-predict.jsonl-00000-of-00001").read_text().splitlines()
    (scored,) = (files / "mine-000020.jsonl").read_text().splitlines()
    assert json.loads(row)["prediction"] == json.loads(scored)["output"]
