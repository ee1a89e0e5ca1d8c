"""Runs: resumed exactly, stopped politely, refused clearly."""

import dataclasses
import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.manager import load_params
from nmt5.core.errors import CheckpointError, ConfigError, DataError, StorageError, VocabularyError
from nmt5.data.saved_batch import read_batch, saved_rows
from nmt5.training.loop import TrainConfig, train
from nmt5.training.metrics import read_metrics
from nmt5.training.run_directory import run_lock


def _checkpointed_state(run_dir, step):
    """Returns the `state` item as NumPy arrays."""
    import orbax.checkpoint as ocp

    path = run_dir / "checkpoints" / f"checkpoint_{step}" / "state"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(
            path, args=ocp.args.PyTreeRestore(item=tree, restore_args=restore_args)
        )


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
    """Stopped off the period, so that the resume is from an odd place.

    The line of step 3 is written while step 4 is under way.
    """
    config = make_config(tmp_path, train={"log_period_steps": 3}, checkpoint={"period_steps": 5})
    stopped = train(config, mixture=mixture, progress=quiet, writers=[StopAt(3, number)])
    assert (stopped.how, stopped.step) == ("stopped", 4)
    assert f"{signal.Signals(number).name}: saving" in quiet.stream.getvalue()
    assert train(make_config(tmp_path), mixture=mixture, progress=quiet).how == "finished"
    assert_same_state(_checkpointed_state(tmp_path, 6), _checkpointed_state(run_unbroken, 6))
    ours, theirs = (
        json.loads((run / "sampled.json").read_text()) for run in (tmp_path, run_unbroken)
    )
    assert ours == theirs
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert [(start["kind"], start["step"]) for start in starts] == [("scratch", 0), ("resume", 4)]


def test_finished_says_so_without_compiling(run_unbroken, make_config, mixture, quiet, monkeypatch):
    def no_device(*args, **kwargs):
        raise AssertionError("touched the devices")

    monkeypatch.setattr("nmt5.training.loop.step_program", no_device)
    outcome = train(make_config(run_unbroken), mixture=mixture, progress=quiet)
    assert (outcome.how, outcome.step) == ("was finished", 6)


def test_damaged_newest_checkpoint_costs_steps_not_the_result(
    run_unbroken, tmp_path, make_config, mixture, quiet, capsys
):
    run_dir = shutil.copytree(run_unbroken, tmp_path / "run")
    newest = run_dir / "checkpoints" / "checkpoint_6"
    path = max((p for p in newest.rglob("d/*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert train(make_config(run_dir), mixture=mixture, progress=quiet).how == "finished"
    assert "damaged checkpoint" in capsys.readouterr().err
    assert_same_state(_checkpointed_state(run_dir, 6), _checkpointed_state(run_unbroken, 6))
    assert _steps(run_dir) == [2, 4, 6]
    assert (run_dir / "sampled.json").read_text() == (run_unbroken / "sampled.json").read_text()


def test_restart_goes_on_as_the_other_run_would_have(
    run_unbroken, tmp_path, make_config, mixture, quiet
):
    source = str(run_unbroken / "checkpoints" / "checkpoint_4")
    config = make_config(tmp_path, checkpoint={"restart_from": source})
    assert train(config, mixture=mixture, progress=quiet).step == 6
    assert_same_state(_checkpointed_state(tmp_path, 6), _checkpointed_state(run_unbroken, 6))
    (start,) = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert (start["kind"], start["step"], start["from"]) == ("restart", 4, source)


@pytest.mark.parametrize("kind", ["initial checkpoint", "public checkpoint"])
def test_initial_checkpoint_gives_parameters_only(
    run_unbroken, tmp_path, make_config, mixture, quiet, capsys, kind
):
    source = run_unbroken
    if kind == "public checkpoint":
        source = tmp_path / "public"
        convert(
            ConvertConfig(source=str(run_unbroken), target=str(source), format="huggingface"),
            report=lambda _: None,
        )
    run_dir = tmp_path / "run"
    config = make_config(
        run_dir, train={"train_steps": 1}, checkpoint={"initial_checkpoint": str(source)}
    )
    capsys.readouterr()
    assert train(config, mixture=mixture, progress=quiet).step == 1
    ours, theirs = _checkpointed_state(run_dir, 1), _checkpointed_state(run_unbroken, 6)
    assert ours["state"]["step"] == ours["state"]["optimizer"]["count"] == 1
    # One update away: a parameter moves by about 0.02 of its scale, a fresh one would lie 1 away.
    one, other = (state["target"]["token_embedder"]["embedding"] for state in (ours, theirs))
    assert 0 < np.abs(one - other).max() < 0.5
    (start,) = json.loads((run_dir / "run.json").read_text())["starts"]
    assert (start["kind"], start["step"]) == (kind, 0)
    assert ("taken on trust" in capsys.readouterr().err) == (kind == "public checkpoint")


def test_held_out_losses_by_objective_and_language(tmp_path, make_config, mixture, quiet):
    config = make_config(tmp_path, train={"train_steps": 2, "eval_period_steps": 2})
    train(config, mixture=mixture, progress=quiet)
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    for name in (
        "span_corruption/loss", "span_corruption/loss/en", "span_corruption/loss/fr", "nmt/loss",
        "nmt/loss/en-fr", "nmt/loss/fr-en", "nmt/accuracy",
    ):  # fmt: skip
        assert 0 <= line[f"heldout/{name}"] < 10
    assert line["heldout/nmt/target_tokens"] > 0
    assert "held out  " in quiet.stream.getvalue()


class FullAt:
    """A metric writer on a disk that is full from a step on."""

    def __init__(self, step):
        self._step = step

    def write(self, step, values):
        if step >= self._step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "numbers")

    def close(self):
        pass


@pytest.mark.slow
def test_a_fault_outside_the_state_costs_no_step(
    run_unbroken, tmp_path, make_config, mixture, quiet, capsys
):
    """Numbers cannot be written any more: what was trained is saved, though it was not yet time."""
    config = make_config(tmp_path, train={"log_period_steps": 3}, checkpoint={"period_steps": 5})
    with pytest.raises(OSError, match="No space left"):
        train(config, mixture=mixture, progress=quiet, writers=[FullAt(3)])
    assert "saved up to step 4; the same command goes on from there" in capsys.readouterr().err
    assert train(make_config(tmp_path), mixture=mixture, progress=quiet).how == "finished"
    assert_same_state(_checkpointed_state(tmp_path, 6), _checkpointed_state(run_unbroken, 6))


@pytest.mark.slow
def test_a_run_that_diverges_ends_with_its_batch_and_keeps_its_checkpoints(
    tmp_path, make_config, mixture, quiet
):
    config = make_config(
        tmp_path,
        train={"train_steps": 20, "max_skipped_steps": 3},
        loss={"z_loss": 3e38},  # times log(Z)^2: infinite from the first step on
        checkpoint={"period_steps": 1},
    )
    with pytest.raises(DataError, match="3 batches in a row gave .*; saved up to step") as caught:
        train(config, mixture=mixture, progress=quiet)
    (path,) = tmp_path.glob("bad_batch_*.npz")
    assert f"nmt5 show --batch {path}" in str(caught.value)
    arrays, facts = read_batch(path)
    assert facts["mixture"] == "toy"
    assert sorted(arrays) == ["nmt", "span_corruption"]
    assert list(saved_rows(arrays))


def test_two_runs_in_one_directory(tmp_path, make_config, mixture, quiet):
    with (
        run_lock(tmp_path),
        pytest.raises(StorageError, match=rf"in use by process {os.getpid()} on"),
    ):
        train(make_config(tmp_path), mixture=mixture, progress=quiet)


def _other_vocabulary(mixture):
    ids = dataclasses.replace(mixture.vocabulary, fingerprint="0" * 64)
    return dataclasses.replace(mixture, vocabulary=ids)


def test_refusals(run_unbroken, tmp_path, make_config, mixture, quiet):
    def refused(error, match, *, run_dir=tmp_path / "new", mixture=mixture, **changes):
        with pytest.raises(error, match=match):
            train(make_config(run_dir, **changes), mixture=mixture, progress=quiet)

    initial = {"checkpoint": {"initial_checkpoint": str(run_unbroken)}}
    refused(ConfigError, "vocab_size is 256, the vocabulary .* has 300", model={"vocab_size": 256})
    refused(CheckpointError, "emb_dim 32 .run: 16", model={"emb_dim": 16}, **initial)
    missing = {"initial_checkpoint": str(tmp_path / "none")}
    refused(CheckpointError, "none: does not exist", checkpoint=missing)
    other = _other_vocabulary(mixture)
    refused(VocabularyError, "ffffffffffff", mixture=other)  # the store's
    longer = {"train": {"train_steps": 9}, "run_dir": run_unbroken}
    refused(VocabularyError, "was trained with vocabulary ffffff", mixture=other, **longer)
    refused(CheckpointError, "num_heads 4 .run: 2", model={"num_heads": 2}, **longer)
    refused(ConfigError, "saved position is of another stream", data={"seed": 5}, **longer)
    fewer = dataclasses.replace(
        mixture, groups=(dataclasses.replace(mixture.groups[0], share=1.0),)
    )
    refused(ConfigError, "drew from 4 tasks, the mixture has 2", mixture=fewer, **longer)
    # None of that did any harm.
    assert load_params(run_unbroken)[1].step == 6


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="train_steps is 0.*; eval_rows is -1"):
        TrainConfig(run_dir="x", train_steps=0, eval_rows=-1)


_CHILD = """
import os, pickle, signal, sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
from nmt5.training.loop import train

class KillAt:
    def write(self, step, values):
        if step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    def close(self):
        pass

config, mixture = pickle.load(open(sys.argv[1], "rb"))
train(config, mixture=mixture, writers=[KillAt()])
found = sorted({"tensorflow", "seqio", "t5"} & set(sys.modules))
assert not found, found
"""


@pytest.mark.slow
def test_killed_twice_and_started_again_is_the_unbroken_run(
    run_unbroken, tmp_path, make_config, mixture
):
    """Other processes, other compilations, killed while a save is under way; same bits."""
    config = make_config(tmp_path / "run", train={"log_period_steps": 1})
    (tmp_path / "settings").write_bytes(pickle.dumps((config, mixture)))
    for kill_at, code in ((3, -signal.SIGKILL), (5, -signal.SIGKILL), (-1, 0)):
        command = [sys.executable, "-c", _CHILD, str(tmp_path / "settings"), str(kill_at)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr[-2000:]
    assert_same_state(
        _checkpointed_state(tmp_path / "run", 6), _checkpointed_state(run_unbroken, 6)
    )
    assert _steps(tmp_path / "run") == [1, 2, 3, 4, 5, 6]
    starts = json.loads((tmp_path / "run" / "run.json").read_text())["starts"]
    # How far a start goes back depends on whether the save of the step before was complete.
    assert starts[1]["step"] in (0, 2)
    assert starts[2]["step"] in (2, 4)
