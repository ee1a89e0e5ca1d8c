"""Ready-made examples: inputs and targets of somebody else's SeqIO task, as its pipeline made them.

`nmt5 prepare` runs that pipeline once (`nmt5.data.sources.seqio_task`), so noise that it draws is
the same in every epoch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, expect_segments

DEFAULT_LENGTHS = (512, 512)


def ready_made(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator | None = None,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    made_for: tuple[int, int] = DEFAULT_LENGTHS,
) -> Example:
    """Returns inputs and targets as they are; nothing is put before or behind them.

    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> pair = np.array([7, 8, 1], np.int32), np.array([9], np.int32)
    >>> example = ready_made(pair, ids=ids, max_inputs=2, max_targets=4)
    >>> example.inputs.tolist(), example.targets.tolist(), example.truncated
    ([7, 8], [9], True)

    Args:
      segments: (inputs, targets), with EOS if the task has it.
      rng: unused.
      ids: unused.
      prefix: unused.
      max_inputs: longest inputs; more is cut off.
      max_targets: longest targets; more is cut off.
      made_for: lengths that the task's pipeline was asked for, those of a row by default.

    Raises:
      ConfigError: not two sequences.
    """
    del rng, ids, prefix, made_for
    expect_segments("ready_made", segments, number=2)
    inputs, targets = segments
    return Example(
        inputs=np.asarray(inputs[:max_inputs], np.int32),
        targets=np.asarray(targets[:max_targets], np.int32),
        truncated=len(inputs) > max_inputs or len(targets) > max_targets,
    )


def row_lengths(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Returns (inputs, targets) of a row: what the examples were made for."""
    del inputs_length
    inputs, targets = settings.get("made_for", DEFAULT_LENGTHS)
    return inputs, targets
