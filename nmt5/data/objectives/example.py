"""What every objective returns, and how a sequence is closed within its limit."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from nmt5.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Example:
    """One training example, before packing.

    Attributes:
      inputs: int32 array, ends in EOS.
      targets: int32 array, ends in EOS.
      truncated: whether text was cut to fit the limits.
    """

    inputs: np.ndarray
    targets: np.ndarray
    truncated: bool


def closed(parts: Sequence[np.ndarray | Sequence[int]], *, limit: int, eos: int) -> np.ndarray:
    """Concatenates token ids, cuts them to `limit - 1` and appends EOS.

    >>> closed([[7, 8], [9]], limit=3, eos=1)
    array([7, 8, 1], dtype=int32)

    Args:
      parts: pieces of the sequence in order.
      limit: longest result in tokens, EOS counted, at least 1.
      eos: id of the end of a sequence.

    Returns:
      int32 array of at most `limit` ids that ends in EOS.
    """
    length = min(sum(map(len, parts)), limit - 1)
    sequence = np.empty(length + 1, np.int32)
    start = 0
    for part in parts:
        end = min(start + len(part), length)
        sequence[start:end] = part[: end - start]
        start = end
    sequence[length] = eos
    return sequence


def fair_lengths(lengths: tuple[int, int], *, budget: int) -> tuple[int, int]:
    """Shares a budget between two texts, cutting the longer one first.

    >>> fair_lengths((10, 3), budget=8), fair_lengths((10, 9), budget=8)
    ((5, 3), (4, 4))

    Args:
      lengths: tokens of both texts.
      budget: tokens that may remain in total.

    Returns:
      How many tokens to keep of each; unchanged if both fit.
    """
    first, second = lengths
    if first + second <= budget:
        return lengths
    if first <= budget // 2:
        return first, budget - first
    if second <= budget // 2:
        return budget - second, second
    return budget - budget // 2, budget // 2


def expect_segments(objective: str, segments: Sequence[np.ndarray], *, number: int) -> None:
    """Raises `ConfigError` unless an objective got the number of texts that it is about."""
    if len(segments) != number:
        kinds = {1: "one text (a monolingual task)", 2: "a source and a target (a parallel task)"}
        raise ConfigError(
            f"objective '{objective}' takes {kinds[number]}, found {len(segments)}; put the task "
            "into a group whose objective fits its corpus"
        )
