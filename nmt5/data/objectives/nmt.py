"""NMT: the source sentence after the code of the target language; the targets are its translation.

MLM + NMT is the model that the paper calls nmT5.
"""

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, closed, expect_segments


def nmt(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator | None = None,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
) -> Example:
    """Makes a translation example.

        source    10 11 12      target  20 21      prefix  5 6 (`<2fr> `)
        inputs    5 6 10 11 12 1
        targets   20 21 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> pair = np.array([10, 11, 12], np.int32), np.array([20, 21], np.int32)
    >>> example = nmt(pair, ids=ids, prefix=(5, 6), max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([5, 6, 10, 11, 12, 1], [20, 21, 1])

    Args:
      segments: (source, target).
      rng: unused.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: the code of the target language.
      max_inputs: longest inputs.
      max_targets: longest targets.

    Returns:
      The example; a side that is too long loses its end.

    Raises:
      ConfigError: not a pair.
    """
    del rng
    expect_segments("nmt", segments, number=2)
    source, target = segments
    return Example(
        inputs=closed([prefix, source], limit=max_inputs, eos=ids.eos),
        targets=closed([target], limit=max_targets, eos=ids.eos),
        truncated=len(prefix) + len(source) >= max_inputs or len(target) >= max_targets,
    )
