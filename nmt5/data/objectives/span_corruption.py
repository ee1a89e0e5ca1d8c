"""MLM: spans of one text are replaced by sentinels, and the targets give them back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, closed, expect_segments
from nmt5.data.spans import (
    MEAN_SPAN_TOKENS,
    NOISE_DENSITY,
    fitting_lengths,
    random_spans_noise_mask,
    replace_runs,
)


def span_corruption(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    noise_density: float = NOISE_DENSITY,
    mean_span_tokens: float = MEAN_SPAN_TOKENS,
) -> Example:
    """Corrupts one text as mT5 does.

        text      10 11 12 13 14 15 16
        noise                       x
        inputs    10 11 12 13 14 15 99  1      99 = first sentinel, 1 = EOS
        targets                     99 16  1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> text, rng = np.arange(10, 17, dtype=np.int32), np.random.default_rng(0)
    >>> example = span_corruption((text,), rng, ids=ids, max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([10, 11, 12, 13, 14, 15, 99, 1], [99, 16, 1])

    Args:
      segments: one text.
      rng: where the noise comes from.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs.
      max_inputs: longest inputs.
      max_targets: longest targets.
      noise_density: part of the text that is removed.
      mean_span_tokens: mean length of a removed run.

    Returns:
      The example. A text too long for the limits is cut before noise is drawn, so that every
      sentinel of the inputs is answered in the targets.

    Raises:
      ConfigError: not one text, settings out of range, or limits that hold no text.
      DataError: more spans than sentinels.
    """
    expect_segments("span_corruption", segments, number=1)
    (text,) = segments
    return corrupt(
        text,
        rng,
        ids=ids,
        prefix=prefix,
        max_inputs=max_inputs,
        max_targets=max_targets,
        noise_density=noise_density,
        mean_span_tokens=mean_span_tokens,
    )


def corrupt(
    text: np.ndarray,
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...],
    max_inputs: int,
    max_targets: int,
    noise_density: float,
    mean_span_tokens: float,
) -> Example:
    """Corrupts one sequence; `span_corruption` describes arguments, result and errors."""
    longest = fitting_lengths(
        max_inputs - len(prefix),
        targets_length=max_targets,
        noise_density=noise_density,
        mean_span_tokens=mean_span_tokens,
    ).raw
    kept = text[:longest]
    mask = random_spans_noise_mask(
        len(kept), rng, noise_density=noise_density, mean_span_tokens=mean_span_tokens
    )
    return Example(
        inputs=closed([prefix, replace_runs(kept, mask, ids=ids)], limit=max_inputs, eos=ids.eos),
        targets=closed([replace_runs(kept, ~mask, ids=ids)], limit=max_targets, eos=ids.eos),
        truncated=len(kept) < len(text),
    )


def segment_tokens(inputs_length: int, targets_length: int, settings: Mapping[str, Any]) -> int:
    """Returns the longest text whose corruption fits a row."""
    noise = _noise_settings(settings)
    return fitting_lengths(inputs_length, targets_length=targets_length, **noise).raw


def row_lengths(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the row that a full text fills on both sides, 1024 and 229 for mT5.

    >>> row_lengths(1024, {})
    (1024, 229)
    """
    return inputs_length, fitting_lengths(inputs_length, **_noise_settings(settings)).targets


def _noise_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = ("noise_density", "mean_span_tokens")
    return {name: settings[name] for name in names if name in settings}
