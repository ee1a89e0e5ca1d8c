"""What a run saves: checkpoints, and beside them what was drawn of each task."""

from collections.abc import Mapping, Sequence
import contextlib
from typing import Any

from etils import epath
import jax
import numpy as np

from nmt5.checkpoints.manager import SUBDIRECTORY, CheckpointWriter, Description, complete_steps
from nmt5.core.errors import UserError
from nmt5.core.files import write_json
from nmt5.data.feed import merge_states
from nmt5.data.mixture import Mixture, TaskSpec
from nmt5.partitioning.agreement import gather
from nmt5.partitioning.processes import group
from nmt5.training.recorder import Sampled
from nmt5.training.run_config import RunConfig
from nmt5.training.state import TrainState

SAMPLED = "sampled.json"


class Saver:
    """Saves a run's state in the background.

    Args:
      config: the run's settings.
      mixture: what it trains on.
      tasks: the feed's tasks, in its order.
      sampled: what has been drawn of them so far.
      step: step at which this process begins; nothing later is saved yet.
      share: which part of the rows this process feeds; some may feed the same.

    Attributes:
      saved_at: last step whose saving has begun.
    """

    def __init__(
        self,
        config: RunConfig,
        mixture: Mixture,
        *,
        tasks: Sequence[TaskSpec],
        sampled: Sampled,
        step: int,
        share: int = 0,
    ):
        self._config, self._mixture = config, mixture
        self._tasks, self._sampled, self._share = tasks, sampled, share
        self._directory = epath.Path(config.train.run_dir)
        self._checkpoints = CheckpointWriter(
            self._directory / SUBDIRECTORY, keep=config.checkpoint.keep
        )
        self.saved_at = step

    def save(self, step: int, state: TrainState, *, position: Any) -> None:
        """Starts saving; `position` is the feed's, after the batch of this step.

        Raises:
          StorageError: this save or the one before failed for want of space or permission.
        """
        position, progress = self._of_all_processes(position)
        self._checkpoints.save(
            step,
            state.to_tree(),
            feed=position,
            progress=progress,
            description=Description(
                step=step,
                model=self._config.model.to_dict(),
                vocabulary_fingerprint=self._mixture.vocabulary.fingerprint,
                vocabulary_size=self._mixture.vocabulary.size,
                mixture=self._mixture.name,
                run={"seed": self._config.train.seed, "data_seed": self._config.data.seed},
            ),
        )
        self.saved_at = step
        if group().is_first:
            write_json(self._directory / SAMPLED, self._sampled_table(step, progress))

    def _of_all_processes(self, position: Any) -> tuple[Any, Any]:
        """Returns position and counts of the whole run in process 0, which writes them."""
        own = {"share": self._share, "position": position, "progress": self._sampled.to_json()}
        collected = gather("position in the text", own)
        if not group().is_first:
            return position, own["progress"]
        by_share = {value["share"]: value for value in reversed(collected.all())}
        progress = [value["progress"] for value in by_share.values()]
        return merge_states([value["position"] for value in by_share.values()]), {
            "sampled": sum(np.asarray(one["sampled"], np.int64) for one in progress).tolist(),
            "truncated": sum(one["truncated"] for one in progress),
            "seconds": own["progress"]["seconds"],
        }

    def save_after_error(self, step: int, state: TrainState, *, position: Any) -> None:
        """Saves what an error elsewhere would cost, and waits for it, as well as it goes.

        One of several processes cannot save without the others.
        """
        if jax.process_count() == 1 and step > self.saved_at:
            with contextlib.suppress(Exception):  # the first error is the one to show
                self.save(step, state, position=position)
                self.wait()

    def saved(self) -> str:
        """Says up to where the run is saved, judged by what is on the disk now."""
        try:
            step = max(complete_steps(self._directory / SUBDIRECTORY), default=None)
        except OSError:
            return "what is saved cannot be read now"
        if step is None:
            return "nothing is saved yet; the same command begins anew"
        return f"saved up to step {step}; the same command goes on from there"

    def check(self) -> None:
        """Raises `StorageError` if the save under way has failed: not only at the next one."""
        self._checkpoints.check()

    def wait(self) -> None:
        """Waits until the last save is complete; raises `StorageError` if it failed."""
        self._checkpoints.wait()

    def close(self) -> None:
        """Ends Orbax's threads, also after an error, which then is the one to show."""
        with contextlib.suppress(UserError, OSError):
            self._checkpoints.close()

    def _sampled_table(self, step: int, progress: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what was drawn of each task beside the part of encoder tokens it was to give."""
        asked = [
            (group.objective, group.share * task.rate / sum(t.rate for t in group.tasks))
            for group in self._mixture.groups
            for task in group.tasks
        ]
        tasks = [
            {
                "task": task.name,
                "objective": objective,
                "languages": list(task.languages),
                "asked_weight": weight,
                "examples": int(counts[0]),
                "encoder_tokens": int(counts[1]),
                "target_tokens": int(counts[2]),
            }
            for task, (objective, weight), counts in zip(
                self._tasks, asked, progress["sampled"], strict=True
            )
        ]
        return {"step": step, "truncated": progress["truncated"], "tasks": tasks}
