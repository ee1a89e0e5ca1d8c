"""Intervals of a score by drawing its items again, and whether two scores differ.

Everything works on weights: a draw of N items with replacement is how often each item was drawn.
Draws that are shared between languages or models keep what they have in common.
"""

import dataclasses

import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A score with its percentile interval.

    Attributes:
      value: the score on all items.
      low: lower end of the 95% interval.
      high: upper end.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Returns the three numbers by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of two scores on the same items.

    Attributes:
      value: second score minus first.
      low: lower end of its 95% interval.
      high: upper end.
      p_value: two-sided; how often draws that are shifted to no difference are as far from it.
    """

    value: float
    low: float
    high: float
    p_value: float

    def to_json(self) -> dict[str, float]:
        """Returns the four numbers by name."""
        return dataclasses.asdict(self)


def draw_weights(num_items: int, *, num_draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Returns how often each item comes in each draw, int64 (draws, items); rows sum to items."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_draws)


def draw_sums(counts_NK: np.ndarray, *, num_draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Returns the sums over items of each draw, float64 (draws, K), for very many items.

    `draw_weights(N) @ counts_NK` in distribution: items with equal counts are drawn as one kind, so
    that 400,000 sentences take a few numbers rather than 400,000 per draw.
    """
    kinds_MK, sizes_M = np.unique(counts_NK, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn_XM = rng.multinomial(len(counts_NK), sizes_M / len(counts_NK), size=num_draws)
    return drawn_XM.astype(np.float64) @ kinds_MK


def interval(value: float, draws: np.ndarray) -> Interval:
    """Returns the interval that holds the middle 95% of the drawn scores.

    Args:
      value: the score on all items.
      draws: the score on each draw; NaN where a draw had no item to score.
    """
    if draws.size == 0 or np.all(np.isnan(draws)):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def difference(first: float, second: float, *, draws: np.ndarray) -> Difference:
    """Compares two scores on the same items.

    Args:
      first: a score.
      second: the other one.
      draws: second minus first on each draw, both on the same one.
    """
    value = float(second) - float(first)
    around = interval(value, draws)
    shifted = np.abs(draws - np.nanmean(draws))
    beyond = np.count_nonzero(shifted >= abs(value))
    # One is added to both: with 1,000 draws no p-value can be below 0.001.
    p_value = (beyond + 1) / (np.count_nonzero(~np.isnan(draws)) + 1)
    return Difference(around.value, around.low, around.high, float(p_value))
