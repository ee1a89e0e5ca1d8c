"""The numbers of a run on their way out: the display, metrics.jsonl, TensorBoard, other writers."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import functools
from typing import Any

from etils import epath
import jax

from nmt5.core.errors import UserError
from nmt5.data.heldout import heldout_batches
from nmt5.data.mixture import Mixture
from nmt5.partitioning.agreement import from_first
from nmt5.partitioning.processes import group
from nmt5.training.held_out import HeldOutBatch, held_out_losses
from nmt5.training.interruption import StopRequest
from nmt5.training.metrics import FILE as METRICS
from nmt5.training.metrics import JsonLinesWriter, MetricWriter, TensorBoardWriter, read_metrics
from nmt5.training.placement import place_whole
from nmt5.training.prefetch import Ahead
from nmt5.training.progress import Progress
from nmt5.training.recorder import Recorder, Sampled
from nmt5.training.run_config import RunConfig
from nmt5.training.step import eval_step
from nmt5.training.step_program import StepProgram
from nmt5.training.watchdog import Doing, Watchdog

TENSORBOARD, VALIDATION = "tensorboard", "validation"


class Reports:
    """Writes log lines and held-out losses of the steps that call for them.

    A step's line is written when the next step is under way, so that no line keeps the devices
    waiting, or at once if the step is done; before a checkpoint and at the end, `flush` writes what
    is due.

    Args:
      config: the run's settings.
      mixture: what it trains on.
      program: says on which devices to evaluate.
      recorder: gets the numbers of the steps.
      sampled: has the time that the run took.
      progress: the display.
      writers: take the numbers too, besides the run directory.
      step: step at which this process begins; numbers of later steps are dropped.
      watchdog: gets a sign of life with each held-out batch.
      stop: ends an evaluation early; its numbers are left out, then.
    """

    def __init__(
        self,
        config: RunConfig,
        mixture: Mixture,
        *,
        program: StepProgram,
        recorder: Recorder,
        sampled: Sampled,
        progress: Progress,
        writers: Iterable[MetricWriter],
        step: int,
        watchdog: Watchdog,
        stop: StopRequest,
    ):
        self._config, self._mixture, self._program = config, mixture, program
        self._recorder, self._sampled, self._progress = recorder, sampled, progress
        self._watchdog, self._stop = watchdog, stop
        self._eval_step = jax.jit(
            functools.partial(eval_step, config=program.config), out_shardings=program.replicated
        )
        self._held_out: Ahead[HeldOutBatch] | None = None
        self._due: int | None = None
        self._begin = step
        directory = epath.Path(config.train.run_dir)
        self._has_held_out = any(
            name.startswith("heldout/")
            for line in read_metrics(directory / METRICS)
            if line["step"] == step
            for name in line
        )
        self._writers = (
            [
                JsonLinesWriter(directory / METRICS, resumed_at=step),
                TensorBoardWriter(directory / TENSORBOARD, resumed_at=step),
                *writers,
            ]
            if group().is_first
            else []
        )

    def catch_up(self, params: Any) -> None:
        """Makes up for held-out losses that the process before left out to stop in time."""
        period = self._config.train.eval_period_steps
        if period is None or self._begin == 0 or self._begin % period:
            return
        if not from_first("held-out losses that are there", lambda: self._has_held_out):
            self._write(self._begin, self._evaluate(self._begin, params))

    def add(self, step: int, metrics: Mapping[str, Any], *, batch: Any, params: Any) -> None:
        """Takes a step that was just dispatched and writes the line of the one before, if due.

        Args:
          step: its number, from 1.
          metrics: from `train_step`, on the devices.
          batch: what it trained on.
          params: the parameters after it, for held-out losses.

        Raises:
          BadNumbersError: there were too many bad steps in a row.
          StorageError: a line cannot be written.
        """
        train = self._config.train
        is_last = step == train.train_steps
        self._recorder.add(step, metrics, batch=batch)
        self._write()
        if step % train.log_period_steps == 0 or is_last:
            self._due = step
        evaluates = train.eval_period_steps is not None
        if evaluates and self._held_out is None and not is_last:
            self._held_out = self._held_out_batches()
        if evaluates and (step % train.eval_period_steps == 0 or is_last):
            self._recorder.flush()
            self._write(step, self._window() | self._evaluate(step, params))
        elif self._recorder.is_done():
            self.flush()

    def flush(self) -> None:
        """Waits for the last step that was added, and writes its line if it is due."""
        self._recorder.flush()
        self._write()

    def _window(self) -> dict[str, float]:
        if self._due is None:
            return {}
        due, self._due = self._due, None
        values = self._recorder.window()
        self._progress.log(due, _short(values))
        return values

    def _write(self, step: int | None = None, values: Mapping[str, float] | None = None) -> None:
        step = self._due if step is None else step
        values = self._window() if values is None else values
        if step is None or not values:
            return
        line = dict(values) | {"seconds": self._sampled.to_json()["seconds"]}
        for writer in self._writers:
            writer.write(step, line)

    def _held_out_batches(self) -> "Ahead[HeldOutBatch]":
        """Begins to make held-out batches, long before they are wanted."""
        config, multiple = self._config.train, self._program.rows_multiple
        batches = heldout_batches(
            self._mixture,
            self._config.data,
            split=VALIDATION,
            rows=-(-config.eval_rows // multiple) * multiple,
            max_batches_per_task=config.eval_batches_per_task,
        )
        return Ahead(batches, name="held-out")

    def _evaluate(self, step: int, params: Any) -> dict[str, float]:
        batches = self._held_out or self._held_out_batches()
        self._held_out = None
        may_stop = step < self._config.train.train_steps  # the end of a run has its numbers
        with self._program.tracing():  # the first batch of each shape traces the step
            values = held_out_losses(
                params,
                self._until_stopped(batches) if may_stop else batches,
                eval_step=self._eval_step,
                place=functools.partial(place_whole, sharding=self._program.rows_sharding),
            )
        batches.close()
        self._recorder.restart()
        if may_stop and self._stop.requested is not None:
            self._progress.say(f"step {step}: held-out losses left out, to stop in time")
            return {}
        self._progress.say(f"step {step}: held out  " + _short_held_out(values))
        return values

    def _until_stopped(self, batches: Iterable[HeldOutBatch]) -> Iterator[HeldOutBatch]:
        for batch in batches:
            self._watchdog.at(Doing.EVALUATING)
            if self._stop.requested is not None:
                return
            yield batch

    def close(self) -> None:
        """Closes the files, also after an error, which then is the one to show."""
        if self._held_out is not None:
            self._held_out.close()
        for writer in self._writers:
            with contextlib.suppress(UserError):
                writer.close()


def _short(values: Mapping[str, float]) -> str:
    parts = [
        f"{name.split('/')[1]} {value:.3f}"
        for name, value in values.items()
        if name.startswith("train/") and name.endswith("/loss")
    ]
    parts.append(f"{values['speed/real_tokens_per_second']:,.0f} tokens/s")
    if "speed/model_flop_utilisation" in values:
        parts.append(f"{values['speed/model_flop_utilisation']:.0%} of peak")
    if values["train/skipped_steps"]:
        parts.append(f"{values['train/skipped_steps']:.0f} steps skipped")
    if values["train/loss_spikes"]:
        parts.append(f"{values['train/loss_spikes']:.0f} loss spikes")
    return "  ".join(parts)


def _short_held_out(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name.split('/')[1]} {value:.3f}"
        for name, value in values.items()
        if name.startswith("heldout/") and name.endswith("/loss")
    )
