"""Steps with bad numbers: counted; after too many in a row the run ends and saves the batch."""

import collections
from collections.abc import Mapping
import os
import statistics
from typing import Any

from etils import epath
import jax
import numpy as np

from nmt5.core.errors import DataError, UserError
from nmt5.data.saved_batch import write_batch

_MEDIAN_OF, _JUDGE_FROM = 100, 20


class BadNumbersError(DataError):
    """The run went astray; what it is now is not worth saving."""


class BadNumbers:
    """Judges the numbers of each step.

    A step is bad if its loss or gradient is not finite (the step changed nothing, then) or, if
    asked for, if its loss is above `spike_factor` times the median of the last 100 losses. The
    median is judged by from its 20th loss on, and a resumed run begins it anew.

    Args:
      directory: of the run, where the batch is saved.
      max_in_a_row: so many bad steps in a row end the run.
      spike_factor: None for no judgement of finite losses.
      facts: JSON-able, saved with the batch.

    Attributes:
      in_a_row: bad steps since the last good one.
    """

    def __init__(
        self,
        directory: os.PathLike | str,
        *,
        max_in_a_row: int,
        spike_factor: float | None,
        facts: Mapping[str, Any],
    ):
        self._directory = epath.Path(directory)
        self._max = max_in_a_row
        self._factor = spike_factor
        self._facts = facts
        self._losses: collections.deque[float] = collections.deque(maxlen=_MEDIAN_OF)
        self.in_a_row = 0

    def judge(self, step: int, *, loss: float, is_finite: bool, batch: Any) -> bool:
        """Counts one step; returns whether it was a spike.

        Args:
          step: its number, from 1.
          loss: of the whole batch, per target token.
          is_finite: whether loss and gradient were.
          batch: `{objective: {feature: jax.Array}}`, saved if this step ends the run.

        Raises:
          BadNumbersError: this is one bad step too many.
        """
        limit = self._limit()
        is_spike = is_finite and limit is not None and loss > limit
        if is_finite:
            self._losses.append(loss)
        self.in_a_row = self.in_a_row + 1 if is_spike or not is_finite else 0
        if self.in_a_row >= self._max:
            why = (
                f"a loss above {self._factor:g} times the median of the last {len(self._losses)} "
                f"({loss:.4g}, limit {limit:.4g})"
                if is_spike
                else "a loss or gradient that is not finite"
            )
            raise BadNumbersError(
                f"train: step {step}: {self.in_a_row} batches in a row gave {why}; "
                f"{self._save(step, loss, batch)}; lower OptimizerConfig.learning_rate, or mend "
                "the text"
            )
        return is_spike

    def _limit(self) -> float | None:
        if self._factor is None or len(self._losses) < _JUDGE_FROM:
            return None
        return self._factor * statistics.median(self._losses)

    def _save(self, step: int, loss: float, batch: Any) -> str:
        """Saves the batch; returns where it is, or why it is nowhere."""
        process = f".process_{jax.process_index()}" if jax.process_count() > 1 else ""
        path = self._directory / f"bad_batch_{step}{process}.npz"
        arrays = jax.tree.map(_own_rows, batch)
        try:
            write_batch(path, arrays, facts={"step": step, "loss": repr(loss)} | dict(self._facts))
        except UserError as error:
            return f"the last of them could not be saved ({error})"
        return f"the last of them is shown by `nmt5 show --batch {path}`"


def _own_rows(array: jax.Array) -> np.ndarray:
    """Returns those rows of a batch array that lie on this process's devices."""
    parts: Mapping[int, Any] = {
        shard.index[0].start or 0: shard.data for shard in array.addressable_shards
    }
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])
