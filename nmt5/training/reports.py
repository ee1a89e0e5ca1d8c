"""The numbers of a run on their way out: the display, metrics.jsonl, TensorBoard, other writers."""

from collections.abc import Iterable, Mapping
import contextlib
import functools
from typing import Any

from etils import epath
import jax

from nmt5.core.errors import UserError
from nmt5.data.heldout import heldout_batches
from nmt5.data.mixture import Mixture
from nmt5.training.held_out import held_out_losses
from nmt5.training.metrics import FILE as METRICS
from nmt5.training.metrics import JsonLinesWriter, MetricWriter, TensorBoardWriter
from nmt5.training.prefetch import place_rows
from nmt5.training.progress import Progress
from nmt5.training.recorder import Recorder, Sampled
from nmt5.training.run_config import RunConfig
from nmt5.training.step import eval_step
from nmt5.training.step_program import StepProgram

TENSORBOARD, VALIDATION = "tensorboard", "validation"


class Reports:
    """Writes a log line or held-out losses when a step calls for them.

    Args:
      config: the run's settings.
      mixture: what it trains on.
      program: says on which devices to evaluate.
      recorder: has the numbers of the steps.
      sampled: has the time that the run took.
      progress: the display.
      writers: take the numbers too, besides the run directory.
      step: step at which this process begins; numbers of later steps are dropped.
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
    ):
        self._config, self._mixture, self._program = config, mixture, program
        self._eval_step = jax.jit(functools.partial(eval_step, config=program.config))
        self._recorder, self._sampled, self._progress = recorder, sampled, progress
        directory = epath.Path(config.train.run_dir)
        self._writers = [
            JsonLinesWriter(directory / METRICS, resumed_at=step),
            TensorBoardWriter(directory / TENSORBOARD, resumed_at=step),
            *writers,
        ]

    def after(self, step: int, params: Any) -> None:
        """Reports what is due after `step` steps; raises `StorageError` if it cannot be written."""
        config, values = self._config.train, {}
        is_last = step == config.train_steps
        if step % config.log_period_steps == 0 or is_last:
            self._recorder.flush()
            values = self._recorder.window()
            self._progress.log(step, _short(values))
        period = config.eval_period_steps
        if period is not None and (step % period == 0 or is_last):
            self._recorder.flush()
            values |= self._held_out(params)
            self._recorder.restart()
            self._progress.say(f"step {step}: held out  " + _short_held_out(values))
        if values:
            values["seconds"] = self._sampled.to_json()["seconds"]
            for writer in self._writers:
                writer.write(step, values)

    def _held_out(self, params: Any) -> dict[str, float]:
        config, multiple = self._config.train, self._program.rows_multiple
        return held_out_losses(
            params,
            heldout_batches(
                self._mixture,
                self._config.data,
                split=VALIDATION,
                rows=-(-config.eval_rows // multiple) * multiple,
                max_batches_per_task=config.eval_batches_per_task,
            ),
            eval_step=self._eval_step,
            place=functools.partial(place_rows, sharding=self._program.rows_sharding),
        )

    def close(self) -> None:
        """Closes the files, also after an error, which then is the one to show."""
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
    return "  ".join(parts)


def _short_held_out(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name.split('/')[1]} {value:.3f}"
        for name, value in values.items()
        if name.startswith("heldout/") and name.endswith("/loss")
    )
