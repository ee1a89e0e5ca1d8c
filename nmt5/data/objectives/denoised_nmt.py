"""Denoised-NMT: as NMT, but spans of the source are masked; the targets stay the translation."""

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


def denoised_nmt(
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
    """Makes a translation example whose source is corrupted.

        source    10 11 12 13      target  20 21      prefix  5 6 (`<2fr> `)
        noise              x
        inputs    5 6 10 11 12 99 1                   99 = first sentinel, 1 = EOS
        targets   20 21 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> pair = np.array([10, 11, 12, 13], np.int32), np.array([20, 21], np.int32)
    >>> rng = np.random.default_rng(0)
    >>> example = denoised_nmt(pair, rng, ids=ids, prefix=(5, 6), max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([5, 6, 10, 11, 12, 99, 1], [20, 21, 1])

    Args:
      segments: (source, target).
      rng: where the noise comes from.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: the code of the target language.
      max_inputs: longest inputs.
      max_targets: longest targets.
      noise_density: part of the source that is masked.
      mean_span_tokens: mean length of a masked run.

    Returns:
      The example; a side that is too long loses its end, the source before noise is drawn.

    Raises:
      ConfigError: not a pair, settings out of range, or limits that hold no text.
      DataError: more spans than sentinels.
    """
    expect_segments("denoised_nmt", segments, number=2)
    source, target = segments
    inputs, cut = corrupted_source(
        source,
        rng,
        ids=ids,
        prefix=prefix,
        max_inputs=max_inputs,
        noise_density=noise_density,
        mean_span_tokens=mean_span_tokens,
    )
    return Example(
        inputs=inputs,
        targets=closed([target], limit=max_targets, eos=ids.eos),
        truncated=cut or len(target) >= max_targets,
    )


def corrupted_source(
    source: np.ndarray,
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...],
    max_inputs: int,
    noise_density: float,
    mean_span_tokens: float,
) -> tuple[np.ndarray, bool]:
    """Returns the inputs of `denoised_nmt` and whether the source was cut to fit."""
    longest = fitting_lengths(
        max_inputs - len(prefix), noise_density=noise_density, mean_span_tokens=mean_span_tokens
    ).raw
    kept = source[:longest]
    mask = random_spans_noise_mask(
        len(kept), rng, noise_density=noise_density, mean_span_tokens=mean_span_tokens
    )
    masked = replace_runs(kept, mask, ids=ids)
    return closed([prefix, masked], limit=max_inputs, eos=ids.eos), len(kept) < len(source)
