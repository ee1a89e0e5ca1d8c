"""Runs: resumed exactly, stopped politely, refused clearly."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from nmt5.checkpoints.manager import load_params
from nmt5.training.loop import train
from nmt5.training.metrics import read_metrics


def _checkpointed_state(run_dir, step):
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(run_dir / "checkpoints" / f"checkpoint_{step}" / "state")


def assert_same_state(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        found = dict(jax.tree_util.tree_leaves_with_path(other))[path]
        np.testing.assert_array_equal(leaf, found, err_msg=str(path), strict=True)


def _steps(run_dir):
    return [line["step"] for line in read_metrics(run_dir / "metrics.jsonl")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Filled by the first test that needs it, for fixtures of functions make the settings."""
    return tmp_path_factory.mktemp("unbroken")


@pytest.fixture
def run_unbroken(unbroken, make_config, mixture, quiet):
    if not (unbroken / "run.json").exists():
        assert train(make_config(unbroken), mixture=mixture, progress=quiet).how == "finished"
    return unbroken


class StopAt:
    """A metric writer that sends this process a signal at a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self._step, self._number = step, number

    def write(self, step, values):
        if step == self._step:
            os.kill(os.getpid(), self._number)

    def close(self):
        pass


def test_what_a_run_leaves(run_unbroken, mixture):
    names = {path.name for path in run_unbroken.iterdir()}
    assert names >= {
        "run.json", "settings.txt", "mixture.json", "metrics.jsonl", "sampled.json",
        "tensorboard", "checkpoints",
    }  # fmt: skip
    assert sorted(path.name for path in (run_unbroken / "checkpoints").iterdir()) == [
        "checkpoint_2", "checkpoint_4", "checkpoint_6",
    ]  # fmt: skip
    lines = read_metrics(run_unbroken / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[-1]["train/span_corruption/loss"] < lines[0]["train/span_corruption/loss"]
    assert lines[-1]["train/skipped_steps"] == 0
    params, description = load_params(run_unbroken)
    assert description.step == 6
    assert description.mixture == "toy"
    assert params["token_embedder"]["embedding"].shape == (384, 32)
    sampled = json.loads((run_unbroken / "sampled.json").read_text())
    assert [task["task"] for task in sampled["tasks"]] == [
        task.name for group in mixture.groups for task in group.tasks
    ]
    assert sum(task["examples"] for task in sampled["tasks"]) > 6 * 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_and_resumed_is_the_unbroken_run(
    run_unbroken, tmp_path, make_config, mixture, quiet, number
):
    """Stopped at step 4 and, off the period, so that the resume is from an odd place, at 3."""
    config = make_config(tmp_path, train={"log_period_steps": 3}, checkpoint={"period_steps": 2})
    stopped = train(config, mixture=mixture, progress=quiet, writers=[StopAt(3, number)])
    assert (stopped.how, stopped.step) == ("stopped", 3)
    assert f"{signal.Signals(number).name}: saving" in quiet.stream.getvalue()
    assert train(make_config(tmp_path), mixture=mixture, progress=quiet).how == "finished"
    assert_same_state(_checkpointed_state(tmp_path, 6), _checkpointed_state(run_unbroken, 6))
    ours, theirs = (
        json.loads((run / "sampled.json").read_text()) for run in (tmp_path, run_unbroken)
    )
    assert ours == theirs
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert [(start["kind"], start["step"]) for start in starts] == [("scratch", 0), ("resume", 3)]
