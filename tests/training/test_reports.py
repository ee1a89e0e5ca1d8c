"""What lines a run writes and when, with steps of a clock that the test turns."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from nmt5.model.losses import LossSums
from nmt5.training import recorder as recorder_module
from nmt5.training.bad_numbers import BadNumbers
from nmt5.training.recorder import Recorder
from nmt5.training.reports import Reports

SECONDS, STEPS, PERIOD = 10.0, 6, 2


class Lines:
    """A writer of metrics that keeps them."""

    def __init__(self):
        self.lines = {}

    def write(self, step, values):
        assert step not in self.lines
        self.lines[step] = dict(values)

    def close(self):
        pass


def metrics_of(step):
    one = jnp.ones(())
    sums = LossSums(loss=step * one, z_loss=0 * one, correct=one, weight=one, objective=one)
    scalars = dict.fromkeys(("loss", "grad_norm", "learning_rate"), one)
    metrics = {
        "objectives": {"objective": sums},
        "encoder_tokens": {"objective": 9 * one},
        "skipped": jnp.zeros((), jnp.int32),
    }
    return jax.block_until_ready(metrics | scalars)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1_000.0)
    monkeypatch.setattr(recorder_module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def run(tmp_path, clock):
    lines = Lines()
    recorder = Recorder(
        flops_per_step=1.0,
        positions_per_step=10,
        peak_flops_per_second=None,
        bad_numbers=BadNumbers(tmp_path, max_in_a_row=3, spike_factor=None, facts={}),
    )
    train = SimpleNamespace(
        run_dir=tmp_path, train_steps=STEPS, log_period_steps=PERIOD, eval_period_steps=None
    )
    reports = Reports(
        SimpleNamespace(train=train),
        None,
        program=SimpleNamespace(
            config=None, replicated=jax.sharding.SingleDeviceSharding(jax.devices()[0])
        ),
        recorder=recorder,
        sampled=SimpleNamespace(to_json=lambda: {"seconds": 0.0}),
        progress=SimpleNamespace(log=lambda step, text: None),
        writers=[lines],
        step=0,
        watchdog=None,
        stop=None,
    )
    yield SimpleNamespace(reports=reports, recorder=recorder, lines=lines.lines, clock=clock)
    reports.close()


def test_steps_that_are_done_are_written_at_once_with_their_own_time(run):
    """A step computed in this thread is done when it is added: no line has another's seconds."""
    for step in range(1, STEPS + 1):
        run.clock.seconds += SECONDS
        run.reports.add(step, metrics_of(step), batch=None, params=None)
        assert sorted(run.lines) == list(range(PERIOD, step + 1, PERIOD))
    for step, line in run.lines.items():
        assert line["speed/steps_per_second"] == pytest.approx(1 / SECONDS)
        assert line["speed/real_tokens_per_second"] == pytest.approx(10 / SECONDS)
        assert line["train/objective/loss"] == step - 0.5  # of this step and the one before


def test_steps_under_way_are_written_when_the_next_one_is(run, monkeypatch):
    monkeypatch.setattr(run.recorder, "is_done", lambda: False)
    for step in range(1, STEPS + 1):
        run.reports.add(step, metrics_of(step), batch=None, params=None)
        run.clock.seconds += SECONDS
        assert sorted(run.lines) == list(range(PERIOD, step, PERIOD))
    run.reports.flush()
    assert sorted(run.lines) == [2, 4, 6]
    assert run.lines[4]["train/objective/loss"] == 3.5


def test_several_processes_read_a_step_late(run, monkeypatch):
    """What one of them found ready another might not, and they decide by it whether to stop."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    run.recorder.add(1, metrics_of(1), batch=None)
    assert not run.recorder.is_done()
