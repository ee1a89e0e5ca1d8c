"""A metric as counts per example whose sums give its scores, with intervals and comparison.

Accuracy is a sum of hits over a number of examples, micro F1 comes from sums of hits, guesses and
golds: with such counts, drawing examples again for an interval costs a matrix product.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import numpy as np

from nmt5.core.errors import DataError
from nmt5.evaluation.bootstrap import Difference, Interval, difference, draw_weights, interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountedMetric:
    """How a kind of answer is scored.

    Attributes:
      name: of the metric, for messages and tables.
      signature: what a reader needs to know to get the same number.
      count: (prediction, references, language) -> K numbers of one example.
      results: sums of counts, float64 (..., K) -> `{score name: (...)}`, all in 0 .. 100.
      main: the score name that stands for the metric.
      shares: names of scores that are shares of the examples: told as counts too.
    """

    name: str
    signature: str
    count: Callable[[str, Sequence[str], str], Sequence[float]]
    results: Callable[[np.ndarray], dict[str, np.ndarray]]
    main: str
    shares: tuple[str, ...] = ()


def counts(
    metric: CountedMetric,
    predictions: Sequence[str],
    *,
    references: Sequence[Sequence[str]],
    language: str,
) -> np.ndarray:
    """Returns what each example adds, float64 (examples, K).

    Args:
      metric: the metric.
      predictions: one text per example.
      references: all right texts of each example.
      language: code of the answers' language.

    Raises:
      DataError: no examples, or another number of predictions than of references.
    """
    if len(predictions) != len(references):
        raise DataError(
            f"{metric.name}: {len(predictions)} predictions for {len(references)} examples; "
            "predict the same split"
        )
    if not predictions:
        raise DataError(f"{metric.name}: no examples to score; the split is empty")
    pairs = zip(predictions, references, strict=True)
    return np.array([metric.count(p, r, language) for p, r in pairs], np.float64)


def score(
    metric: CountedMetric,
    predictions: Sequence[str],
    *,
    references: Sequence[Sequence[str]],
    language: str,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Returns each score of a metric with its 95% interval over examples.

    Args:
      metric: the metric.
      predictions: as `counts`, as are references and language.
      references: see there.
      language: see there.
      num_draws: draws of examples; 0 for no interval (its ends are NaN).
      seed: of the draws.

    Raises:
      DataError: as `counts`.
    """
    counts_NK = counts(metric, predictions, references=references, language=language)
    values = metric.results(counts_NK.sum(axis=0))
    drawn = _drawn(metric, counts_NK, num_draws, seed)
    return {name: interval(float(value), drawn[name]) for name, value in values.items()}


def compare(
    metric: CountedMetric,
    first: Sequence[str],
    *,
    second: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Returns `second - first` of two systems on the same examples, paired, with p-values.

    Arguments and errors as `score`.
    """
    counts_NK = counts(metric, first, references=references, language=language)
    others_NK = counts(metric, second, references=references, language=language)
    values = metric.results(counts_NK.sum(axis=0))
    other_values = metric.results(others_NK.sum(axis=0))
    drawn = _drawn(metric, counts_NK, num_draws, seed)
    others_drawn = _drawn(metric, others_NK, num_draws, seed)
    return {
        name: difference(
            float(values[name]), float(other_values[name]), draws=others_drawn[name] - drawn[name]
        )
        for name in values
    }


def percentage(part: np.ndarray, whole: np.ndarray, *, if_none: float = float("nan")) -> np.ndarray:
    """Returns 100 x part / whole, `if_none` where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.where(whole == 0, if_none, 100.0 * part / np.where(whole == 0, 1.0, whole))


def means(names: Sequence[str]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns `results` for counts that end in a 1: the mean of each other column, in percent."""

    def results(sums_XK: np.ndarray) -> dict[str, np.ndarray]:
        number = sums_XK[..., -1]
        return {name: percentage(sums_XK[..., i], number) for i, name in enumerate(names)}

    return results


def _drawn(
    metric: CountedMetric, counts_NK: np.ndarray, num_draws: int, seed: int
) -> Mapping[str, np.ndarray]:
    weights_RN = draw_weights(len(counts_NK), num_draws=num_draws, seed=seed)
    return metric.results(weights_RN.astype(np.float64) @ counts_NK)
