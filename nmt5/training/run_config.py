"""The settings of a run: its own, and the bundle of all parts' settings."""

import dataclasses
from typing import Any

from nmt5.checkpoints.manager import CheckpointConfig
from nmt5.core.errors import ConfigError
from nmt5.data.layout import DataConfig
from nmt5.model.config import ModelConfig
from nmt5.partitioning.mesh import MeshConfig
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.step import LossConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A run's length, directory and rhythm.

    Attributes:
      run_dir: directory of everything that the run writes.
      train_steps: step at which the run ends.
      seed: of parameters and dropout; the data's is `DataConfig.seed`.
      microbatches: parts that each batch is worked through in, one after the other, so that the
        memory of only one is needed; gradients are summed, and the batch stays what it is.
      log_period_steps: steps between lines of metrics.
      eval_period_steps: steps between held-out losses, which the end of the run has too; None
        for none at all.
      eval_rows: rows of a held-out batch.
      eval_batches_per_task: held-out batches of a task at most; None for all of its text.
      max_skipped_steps: so many batches in a row with bad numbers end the run: without a finite
        gradient, which skips the step, or with a loss above `loss_spike_factor`.
      loss_spike_factor: a loss above so many times the median of the last 100 steps is bad, for
        example 3.0; None judges no finite loss.
      watchdog_seconds: when nothing has happened for so long, the stacks of all threads and the
        likely reason are printed; None for never.
      watchdog_stops: such a stall also ends the run, after saving if that is possible.
      compilation_cache: directory where compiled programs are kept for the next start.

    Raises:
      ConfigError: a value out of range.
    """

    run_dir: str
    train_steps: int
    seed: int = 0
    microbatches: int = 1
    log_period_steps: int = 100
    eval_period_steps: int | None = 1000
    eval_rows: int = 32
    eval_batches_per_task: int | None = 1
    max_skipped_steps: int = 20
    loss_spike_factor: float | None = None
    watchdog_seconds: float | None = 600.0
    watchdog_stops: bool = False
    compilation_cache: str | None = None

    def __post_init__(self):
        faults = [
            f"{name} is {getattr(self, name)!r}, expected 1 or more"
            for name in (
                "train_steps",
                "microbatches",
                "log_period_steps",
                "eval_period_steps",
                "eval_rows",
                "eval_batches_per_task",
                "max_skipped_steps",
            )
            if getattr(self, name) is not None and not getattr(self, name) >= 1
        ]
        if self.loss_spike_factor is not None and not self.loss_spike_factor > 1:
            faults.append(
                f"loss_spike_factor is {self.loss_spike_factor}, expected above 1 or None"
            )
        if self.watchdog_seconds is not None and not self.watchdog_seconds > 0:
            faults.append(f"watchdog_seconds is {self.watchdog_seconds}, expected above 0 or None")
        if faults:
            raise ConfigError("TrainConfig: " + "; ".join(faults))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run."""

    train: TrainConfig
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    loss: LossConfig
    mesh: MeshConfig
    checkpoint: CheckpointConfig

    def named(self) -> dict[str, Any]:
        """Returns the settings by the names that gin files use."""
        return {
            "TrainConfig": self.train,
            "model_config": self.model,
            "DataConfig": self.data,
            "OptimizerConfig": self.optimizer,
            "LossConfig": self.loss,
            "MeshConfig": self.mesh,
            "CheckpointConfig": self.checkpoint,
        }
