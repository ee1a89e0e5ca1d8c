"""Runs in two and four real processes on this machine, over the loopback and CPU collectives."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from nmt5.checkpoints.manager import complete_steps
from nmt5.data.mixture import write_mixture
from nmt5.training.metrics import read_metrics

ROOT = pathlib.Path(__file__).parent.parent.parent
_GIN = """
model_config.size = 'tiny'
model_config.vocab_size = 384
model_config.num_encoder_layers = 1
model_config.num_decoder_layers = 1
model_config.dropout_rate = 0.1
DataConfig.mixture = '{mixture}'
DataConfig.store = '{store}'
DataConfig.inputs_length = 32
DataConfig.encoder_tokens_per_batch = 512
OptimizerConfig.schedule = 'constant'
OptimizerConfig.learning_rate = 0.02
OptimizerConfig.min_dim_size_to_factor = 32
TrainConfig.log_period_steps = 2
TrainConfig.eval_period_steps = None
TrainConfig.eval_rows = 4
TrainConfig.compilation_cache = '{cache}'
CheckpointConfig.period_steps = 2
ProcessConfig.start_seconds = 120
ProcessConfig.lost_seconds = 8
"""


class Started:
    """The processes of one run."""

    def __init__(self, children):
        self.children = children

    def codes(self, *, timeout=240):
        """Waits for all and returns their exit codes; kills what is left when one hangs."""
        try:
            return [child.wait(timeout=timeout) for child in self.children]
        finally:
            for child in self.children:
                child.kill()

    def errors(self):
        return [pathlib.Path(child.errors).read_text() for child in self.children]

    def succeed(self):
        codes = self.codes()
        assert codes == [0] * len(codes), "\n".join(self.errors())[-3000:]


@pytest.fixture(scope="session")
def gin_file(tmp_path_factory, store, mixture, compiled_programs):
    directory = tmp_path_factory.mktemp("several")
    write_mixture(mixture, directory / "toy.json")
    path = directory / "toy.gin"
    cache = compiled_programs
    path.write_text(_GIN.format(mixture=directory / "toy.json", store=store, cache=cache))
    return path


@pytest.fixture(scope="session")
def start(gin_file, tmp_path_factory):
    """Returns a function that starts `nmt5 train` in several processes."""
    outputs = tmp_path_factory.mktemp("outputs")

    def start(run_dir, *, processes, devices, steps, of_each=None, **settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "NPROC": "32",
            "PYTHONPATH": str(ROOT),
        }
        children = []
        for index in range(processes):
            own = settings | (of_each or {}).get(index, {})
            command = [sys.executable, "-m", "nmt5.cli.main", "train", f"--gin_file={gin_file}"]
            own |= {"TrainConfig__run_dir": run_dir, "TrainConfig__train_steps": steps}
            command += [f"--gin.{name.replace('__', '.')}={value}" for name, value in own.items()]
            if processes > 1:
                command += [
                    f"--coordinator_address=127.0.0.1:{port}",
                    f"--process_count={processes}",
                    f"--process_index={index}",
                ]
            errors = outputs / f"{time.monotonic_ns()}.{index}"
            with errors.open("w") as file:
                child = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=file, env=environment
                )
            child.errors = errors
            children.append(child)
        return Started(children)

    return start


def _state(run_dir, step):
    """Returns the `state` item as NumPy arrays."""
    path = run_dir / "checkpoints" / f"checkpoint_{step}" / "state"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(
            path, args=ocp.args.PyTreeRestore(item=tree, restore_args=arguments)
        )


def _feed(run_dir, step):
    path = run_dir / "checkpoints" / f"checkpoint_{step}" / "feed" / "metadata"
    return json.loads(path.read_text())


def _assert_same_run(one, other, *, steps, exactly):
    bounds = {} if exactly else {"rtol": 2e-4, "atol": 2e-6}
    compare = np.testing.assert_array_equal if exactly else np.testing.assert_allclose
    jax.tree.map(lambda a, b: compare(a, b, **bounds), _state(one, steps), _state(other, steps))
    assert _feed(one, steps) == _feed(other, steps)
    assert (one / "sampled.json").read_text() == (other / "sampled.json").read_text()


@pytest.fixture(scope="module")
def one_process(start, tmp_path_factory):
    """The run directory of four steps in one process, which several processes must repeat."""
    run_dir = tmp_path_factory.mktemp("one") / "run"
    start(run_dir, processes=1, devices=2, steps=4, TrainConfig__eval_period_steps=4).succeed()
    return run_dir


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_are_the_run_of_one(start, one_process, tmp_path, processes):
    run_dir, settings = tmp_path / "several", {"TrainConfig__eval_period_steps": 4}
    start(run_dir, processes=processes, devices=1, steps=4, **settings).succeed()
    _assert_same_run(run_dir, one_process, steps=4, exactly=False)
    ours, theirs = (read_metrics(path / "metrics.jsonl") for path in (run_dir, one_process))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == [2, 4]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            if name.endswith(("loss", "accuracy", "grad_norm", "target_tokens")):
                assert mine[name] == pytest.approx(other[name], rel=1e-5), name
    assert "heldout/nmt/loss" in ours[-1]
    (begun,) = json.loads((run_dir / "run.json").read_text())["starts"]
    assert (begun["processes"], begun["devices"]) == (processes, f"{processes} x cpu")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("processes", "victim"), [(2, 0), (2, 1), (4, 2)])
def test_one_is_killed_the_others_end_and_the_restart_goes_on_exactly(
    start, tmp_path, processes, victim
):
    run_dir, several = tmp_path / "run", {"processes": processes, "devices": 1}
    started = start(run_dir, steps=100_000, **several)
    deadline = time.monotonic() + 200
    while max(complete_steps(run_dir / "checkpoints"), default=0) < 4:
        assert time.monotonic() < deadline
        assert all(child.poll() is None for child in started.children), started.errors()
        time.sleep(0.1)
    started.children[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    codes = started.codes(timeout=60)
    assert time.monotonic() - began < 60
    assert codes.pop(victim) == -signal.SIGKILL
    assert codes == [75] * (processes - 1)
    for index, text in enumerate(started.errors()):
        if index != victim:
            message = text.splitlines()[-1]
            assert message.startswith(f"nmt5 train: lost process {victim} (pid "), text[-3000:]
            assert message.endswith("started again, the run goes on from its last checkpoint")

    newest = max(complete_steps(run_dir / "checkpoints"))
    start(run_dir, steps=newest + 2, **several).succeed()
    starts = json.loads((run_dir / "run.json").read_text())["starts"]
    assert [begun["kind"] for begun in starts] == ["scratch", "resume"]
    start(tmp_path / "unbroken", steps=newest + 2, **several).succeed()
    _assert_same_run(run_dir, tmp_path / "unbroken", steps=newest + 2, exactly=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_saved_by_two_restored_by_one_and_by_four(start, one_process, tmp_path):
    """On other meshes, too: rows over 2 devices, then parameters over 2, then both over 4."""
    start(tmp_path / "two", processes=2, devices=1, steps=2).succeed()
    for processes, devices, mesh in ((1, 2, (1, 2)), (4, 1, (2, 2))):
        run_dir = shutil.copytree(tmp_path / "two", tmp_path / f"by {processes}")
        fields = {"MeshConfig__data": mesh[0], "MeshConfig__fsdp": mesh[1]}
        start(run_dir, processes=processes, devices=devices, steps=4, **fields).succeed()
        _assert_same_run(run_dir, one_process, steps=4, exactly=False)
        begun = json.loads((run_dir / "run.json").read_text())["starts"][-1]
        assert (begun["kind"], begun["step"], begun["processes"]) == ("resume", 2, processes)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_over_two_processes_feeds_both_the_same_rows(start, one_process, tmp_path):
    tensor = {"MeshConfig__data": 1, "MeshConfig__tensor": 2}
    start(tmp_path / "two", processes=2, devices=1, steps=4, **tensor).succeed()
    _assert_same_run(tmp_path / "two", one_process, steps=4, exactly=False)


def test_other_settings_in_one_process_are_named_by_all(start, tmp_path):
    other = {1: {"OptimizerConfig__learning_rate": 0.5, "TrainConfig__seed": 3}}
    started = start(tmp_path, processes=2, devices=1, steps=2, of_each=other)
    assert started.codes() == [2, 2]
    for text in started.errors():
        assert (
            "settings differ from those of process 0: process 1: "
            "'OptimizerConfig.learning_rate: 0.5' (process 0: 'OptimizerConfig.learning_rate: "
            "0.02'), 'TrainConfig.seed: 3' (process 0: 'TrainConfig.seed: 0'); start all"
        ) in text
        assert "Traceback" not in text
    assert not (tmp_path / "run.json").exists()


def test_an_error_of_one_is_everybodys(start, tmp_path):
    other = {1: {"DataConfig__mixture": tmp_path / "none.json"}}
    started = start(tmp_path / "run", processes=2, devices=1, steps=2, of_each=other)
    assert started.codes() == [2, 2]
    for text in started.errors():
        assert f"nmt5 train: process 1: mixture: {tmp_path}/none.json does not exist" in text
