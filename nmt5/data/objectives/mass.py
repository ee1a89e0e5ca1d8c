"""MASS: one long span of a text is hidden token by token, and the targets give that span back.

Source: "MASS: Masked Sequence to Sequence Pre-training for Language Generation" (Song et al.,
2019). The first sentinel stands for its mask token; decoder positions count from 0, not from the
span's place in the text, and every hidden token becomes the mask.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, closed, expect_segments

MASKED_PART = 0.5


def mass(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    masked_part: float = MASKED_PART,
) -> Example:
    """Hides one span of a text.

        text      10 11 12 13
        hidden          x  x
        inputs    10 11 99 99 1       99 = first sentinel, 1 = EOS
        targets         12 13 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> text, rng = np.arange(10, 14, dtype=np.int32), np.random.default_rng(3)
    >>> example = mass((text,), rng, ids=ids, max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([10, 11, 99, 99, 1], [12, 13, 1])

    Args:
      segments: one text.
      rng: where the span's place comes from.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs.
      max_inputs: longest inputs.
      max_targets: longest targets.
      masked_part: length of the span as a part of the text, in (0, 1].

    Returns:
      The example; a text too long for the limits loses its end first.

    Raises:
      ConfigError: not one text, or a part out of range.
    """
    expect_segments("mass", segments, number=1)
    (text,) = segments
    settings = {"masked_part": masked_part}
    kept = text[: segment_tokens(max_inputs - len(prefix), max_targets, settings)]
    length = max(round(len(kept) * masked_part), 1)
    start = int(rng.integers(len(kept) - length + 1))
    hidden = kept.astype(np.int32)
    hidden[start : start + length] = ids.sentinel(0)
    return Example(
        inputs=closed([prefix, hidden], limit=max_inputs, eos=ids.eos),
        targets=closed([kept[start : start + length]], limit=max_targets, eos=ids.eos),
        truncated=len(kept) < len(text),
    )


def segment_tokens(inputs_length: int, targets_length: int, settings: Mapping[str, Any]) -> int:
    """Returns the longest text that fits a row. Raises `ConfigError` if the part is out of range.

    >>> segment_tokens(513, 257, {"masked_part": 0.5})
    512
    """
    part = settings.get("masked_part", MASKED_PART)
    if not 0 < part <= 1:
        raise ConfigError(f"objective 'mass': masked_part {part}, expected 0 < x <= 1")
    longest = max(min(inputs_length - 1, int((targets_length - 1) / part) + 1), 1)
    while longest > 1 and max(round(longest * part), 1) > targets_length - 1:
        longest -= 1
    return longest


def row_lengths(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the row that a full text fills on both sides."""
    part = settings.get("masked_part", MASKED_PART)
    return inputs_length, max(round((inputs_length - 1) * part), 1) + 1
