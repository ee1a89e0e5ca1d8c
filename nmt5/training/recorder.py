"""From device scalars of single steps to the numbers of a log line, read one step late."""

from collections import defaultdict
from collections.abc import Mapping
import time
from typing import Any

import jax
import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.training.bad_numbers import BadNumbers


class Recorder:
    """Sums up the metrics of the steps since the last log line.

    The metrics of a step are fetched when the next step is already under way, so that reading
    them never keeps the devices waiting; or at once where they are there, as after a step that
    was computed in this thread.

    Args:
      flops_per_step: model operations of one step.
      positions_per_step: positions of both sides of a batch, padding included.
      peak_flops_per_second: of all devices together; None if unknown.
      bad_numbers: judges each step; `add` and `flush` raise what it raises.
    """

    def __init__(
        self,
        *,
        flops_per_step: float,
        positions_per_step: int,
        peak_flops_per_second: float | None,
        bad_numbers: BadNumbers,
    ):
        self._flops = flops_per_step
        self._positions = positions_per_step
        self._peak = peak_flops_per_second
        self._bad_numbers = bad_numbers
        self._pending: tuple[int, Mapping[str, Any], Any] | None = None
        self.restart()

    def restart(self) -> None:
        """Begins a new window; time spent before (evaluation, compilation) is not counted."""
        self._sums: dict[str, float] = defaultdict(float)
        self._steps = 0
        self._began = time.monotonic()

    def add(self, step: int, metrics: Mapping[str, Any], *, batch: Any) -> None:
        """Takes the metrics of the step just dispatched and reads those of the one before."""
        previous, self._pending = self._pending, (step, metrics, batch)
        if previous is not None:
            self._read(*previous)

    def is_done(self) -> bool:
        """Returns whether reading the last step's metrics would not wait.

        Never with several processes: what they decide upon must be the same in all of them.
        """
        if self._pending is None or jax.process_count() > 1:
            return False
        leaves = jax.tree.leaves(self._pending[1])
        return all(leaf.is_ready() for leaf in leaves if isinstance(leaf, jax.Array))

    def flush(self) -> None:
        """Reads the last step's metrics; waits for it."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._read(*pending)

    def _read(self, step: int, metrics: Mapping[str, Any], batch: Any) -> None:
        found = jax.device_get(metrics)
        skipped = int(found["skipped"])
        is_spike = self._bad_numbers.judge(
            step, loss=float(found["loss"]), is_finite=not skipped, batch=batch
        )
        self._sums["skipped"] += skipped
        self._sums["spikes"] += is_spike
        self._sums["learning_rate"] = float(found["learning_rate"])
        self._steps += 1
        if skipped:
            return  # its sums may be not a number
        self._sums["finite"] += 1
        self._sums["grad_norm"] += float(found["grad_norm"])
        for name, sums in found["objectives"].items():
            for field in ("loss", "z_loss", "correct", "weight"):
                self._sums[f"{name}/{field}"] += float(getattr(sums, field))
            self._sums["tokens"] += float(sums.weight)
            self._sums["tokens"] += float(found["encoder_tokens"][name])

    def window(self) -> dict[str, float]:
        """Returns the numbers since `restart` and begins a new window.

        Returns:
          `train/<objective>/{loss,accuracy,z_loss}` per target token, `train/grad_norm` (mean),
          `train/{learning_rate,skipped_steps,loss_spikes}`, `speed/{real_tokens_per_second,
          real_token_share,steps_per_second,model_flop_utilisation}`; real tokens are those of
          both sides that are not padding, their share is of all positions.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        sums, steps = self._sums, max(self._steps, 1)
        values = {
            "train/grad_norm": sums["grad_norm"] / max(sums["finite"], 1),
            "train/learning_rate": sums["learning_rate"],
            "train/skipped_steps": sums["skipped"],
            "train/loss_spikes": sums["spikes"],
            "speed/real_tokens_per_second": sums["tokens"] / seconds,
            "speed/real_token_share": sums["tokens"] / (self._positions * max(sums["finite"], 1)),
            "speed/steps_per_second": self._steps / seconds,
        }
        if self._peak:
            utilisation = self._flops * self._steps / seconds / self._peak
            values["speed/model_flop_utilisation"] = utilisation
        for name in sorted(key[: -len("/weight")] for key in sums if key.endswith("/weight")):
            weight = max(sums[f"{name}/weight"], 1.0)
            values[f"train/{name}/loss"] = (sums[f"{name}/loss"] - sums[f"{name}/z_loss"]) / weight
            values[f"train/{name}/z_loss"] = sums[f"{name}/z_loss"] / weight
            values[f"train/{name}/accuracy"] = sums[f"{name}/correct"] / weight
            values[f"train/{name}/target_tokens_per_step"] = sums[f"{name}/weight"] / steps
        self.restart()
        return values


class Sampled:
    """How much of each task has been drawn, exactly across stops and starts.

    Args:
      num_tasks: tasks of the feed, in its order.
      progress: what `to_json` gave at the checkpoint, None at the start of a run.

    Raises:
      ConfigError: the checkpoint is of a run with other tasks.
    """

    def __init__(self, num_tasks: int, *, progress: Mapping[str, Any] | None):
        self.counts = np.zeros((num_tasks, 3), np.int64)
        self.truncated = 0
        self.seconds = 0.0
        if progress:
            if len(progress["sampled"]) != num_tasks:
                raise ConfigError(
                    f"train: the checkpoint drew from {len(progress['sampled'])} tasks, the "
                    f"mixture has {num_tasks}; go on with the run's own mixture, or begin a new "
                    "run with CheckpointConfig.initial_checkpoint"
                )
            self.counts += np.asarray(progress["sampled"], np.int64)
            self.truncated = int(progress["truncated"])
            self.seconds = float(progress["seconds"])
        self._began = time.monotonic()

    def add(self, counts: np.ndarray, *, truncated: int) -> None:
        """Adds what one batch drew."""
        self.counts += counts
        self.truncated += truncated

    def to_json(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps; `seconds` is the run's time over all its processes."""
        return {
            "sampled": self.counts.tolist(),
            "truncated": self.truncated,
            "seconds": round(self.seconds + time.monotonic() - self._began, 3),
        }
