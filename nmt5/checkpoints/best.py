"""The best checkpoint of a run by a score that was written while it trained or afterwards."""

from collections.abc import Mapping
import dataclasses
import re

from etils import epath

from nmt5.checkpoints.native_layout import checkpoint_at, checkpoint_steps
from nmt5.core.errors import CheckpointError, ConfigError, unknown_name

LOWEST, HIGHEST = "lowest", "highest"
_LOWER_IS_BETTER = r"loss|perplexity|error|faults?|unparseable|empty"
_HIGHER_IS_BETTER = r"acc(uracy)?|f1|em|exact_match|bleu|chrf|spbleu|rouge\w*|score|seq\w*accuracy"


@dataclasses.dataclass(frozen=True)
class Best:
    """What was found.

    Attributes:
      checkpoint: its directory.
      step: its step.
      values: the score of every checkpoint that is still there and has one, by step.
    """

    checkpoint: epath.Path
    step: int
    values: Mapping[int, float]


def better(metric: str) -> str:
    """Returns whether the lowest or the highest value of a metric is the best.

    >>> better("heldout/nmt/loss"), better("gettext.nmt.en.fr/bleu")
    ('lowest', 'highest')

    Raises:
      ConfigError: its name does not tell.
    """
    parts = [part for part in re.split(r"[/._ -]", metric.lower()) if part]
    for order, pattern in ((LOWEST, _LOWER_IS_BETTER), (HIGHEST, _HIGHER_IS_BETTER)):
        if any(re.fullmatch(pattern, part) for part in parts):
            return order
    raise ConfigError(
        f"best: whether a low or a high '{metric}' is good is not known; say --order={LOWEST} or "
        f"--order={HIGHEST}"
    )


def best_checkpoint(
    directory: epath.PathLike,
    *,
    scores: Mapping[str, Mapping[int, float]],
    metric: str,
    order: str | None = None,
) -> Best:
    """Picks a checkpoint; of equal ones the earliest.

    Args:
      directory: holds `checkpoint_<step>`.
      scores: `{metric: {step: value}}`, all that is known of the run.
      metric: which to compare.
      order: "lowest" or "highest"; None goes by the metric's name.

    Raises:
      ConfigError: an unknown metric or order.
      CheckpointError: no checkpoint has that score.
    """
    if metric not in scores:
        raise ConfigError("best: " + unknown_name("metric", metric, scores))
    order = order or better(metric)
    if order not in (LOWEST, HIGHEST):
        raise ConfigError("best: " + unknown_name("order", order, (LOWEST, HIGHEST)))
    steps = checkpoint_steps(directory)
    values = {step: scores[metric][step] for step in steps if step in scores[metric]}
    values = {step: value for step, value in values.items() if value == value}  # not NaN
    if not values:
        raise CheckpointError(
            f"best: {directory}: no checkpoint has a '{metric}'; checkpoints are of steps "
            f"{_some(steps)}, scores of steps {_some(sorted(scores[metric]))}"
        )
    sign = 1 if order == LOWEST else -1
    step = min(values, key=lambda step: (sign * values[step], step))
    return Best(checkpoint_at(directory, step), step, values)


def _some(steps: list[int]) -> str:
    shown = ", ".join(map(str, steps[:12])) or "none"
    return f"{shown}, ..." if len(steps) > 12 else shown
