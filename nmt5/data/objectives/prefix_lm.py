"""Prefix LM: the inputs are the beginning of a text, the targets go on from there.

Source: "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (Raffel
et al., 2020), section 3.3: a text is cut at a uniformly random place.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, closed, expect_segments


def prefix_lm(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
) -> Example:
    """Cuts a text in two; both parts have at least one token, unless the text has one only.

        text      10 11 12 13 14
        inputs    10 11 12 13 1           1 = EOS
        targets               14 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> text, rng = np.arange(10, 15, dtype=np.int32), np.random.default_rng(7)
    >>> example = prefix_lm((text,), rng, ids=ids, max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([10, 11, 12, 13, 1], [14, 1])

    Args:
      segments: one text.
      rng: where the cut comes from.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs.
      max_inputs: longest inputs.
      max_targets: longest targets.

    Returns:
      The example. If the inputs are too long they lose their beginning, so that the targets still
      go on where they end; targets lose their end.

    Raises:
      ConfigError: not one text.
    """
    expect_segments("prefix_lm", segments, number=1)
    (text,) = segments
    cut = int(rng.integers(1, max(len(text), 2)))
    room = max(max_inputs - 1 - len(prefix), 0)
    start = max(cut - room, 0)
    return Example(
        inputs=closed([prefix, text[start:cut]], limit=max_inputs, eos=ids.eos),
        targets=closed([text[cut:]], limit=max_targets, eos=ids.eos),
        truncated=start > 0 or len(text) - cut >= max_targets,
    )


def segment_tokens(inputs_length: int, targets_length: int, settings: Mapping[str, Any]) -> int:
    """Returns half a row of text, so that several texts with other cuts fill a row together."""
    del settings
    return max(min(inputs_length, targets_length) // 2, 2)
