"""Denoised-NMT+LM: inputs as Denoised-NMT; the targets are the translation, then the source."""

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.denoised_nmt import corrupted_source
from nmt5.data.objectives.example import Example, closed, expect_segments, fair_lengths
from nmt5.data.spans import MEAN_SPAN_TOKENS, NOISE_DENSITY


def denoised_nmt_lm(
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
    """Makes an example that asks for the translation and for the source itself.

        source    10 11 12 13      target  20 21      prefix  5 6 (`<2fr> `)
        noise              x
        inputs    5 6 10 11 12 99 1                   99 = first sentinel, 1 = EOS
        targets   20 21 10 11 12 13 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> pair = np.array([10, 11, 12, 13], np.int32), np.array([20, 21], np.int32)
    >>> rng = np.random.default_rng(0)
    >>> example = denoised_nmt_lm(pair, rng, ids=ids, prefix=(5, 6), max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([5, 6, 10, 11, 12, 99, 1], [20, 21, 10, 11, 12, 13, 1])

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
      The example. If the two texts do not fit the targets, the longer one loses its end first.

    Raises:
      ConfigError: not a pair, settings out of range, or limits that hold no text.
      DataError: more spans than sentinels.
    """
    expect_segments("denoised_nmt_lm", segments, number=2)
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
    keep_target, keep_source = fair_lengths((len(target), len(source)), budget=max_targets - 1)
    kept = [target[:keep_target], source[:keep_source]]
    return Example(
        inputs=inputs,
        targets=closed(kept, limit=max_targets, eos=ids.eos),
        truncated=cut or keep_target + keep_source < len(target) + len(source),
    )
