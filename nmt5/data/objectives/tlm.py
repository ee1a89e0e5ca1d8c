"""TLM: span corruption over the two sentences of a pair, one after the other, no language code."""

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, expect_segments, fair_lengths
from nmt5.data.objectives.span_corruption import corrupt
from nmt5.data.spans import MEAN_SPAN_TOKENS, NOISE_DENSITY, fitting_lengths


def tlm(
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
    """Corrupts a sentence and its translation as one text.

        source    10 11 12 13      target    20 21 22
        noise                                      x
        inputs    10 11 12 13 20 21 99  1          99 = first sentinel, 1 = EOS
        targets                     99 22  1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> pair = np.array([10, 11, 12, 13], np.int32), np.array([20, 21, 22], np.int32)
    >>> example = tlm(pair, np.random.default_rng(0), ids=ids, max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([10, 11, 12, 13, 20, 21, 99, 1], [99, 22, 1])

    Args:
      segments: (source, target).
      rng: where the noise comes from.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs; the paper's TLM has none.
      max_inputs: longest inputs.
      max_targets: longest targets.
      noise_density: part of the text that is removed.
      mean_span_tokens: mean length of a removed run.

    Returns:
      The example. A pair too long for the limits loses the end of its longer side first, before
      noise is drawn.

    Raises:
      ConfigError: not a pair, settings out of range, or limits that hold no text.
      DataError: more spans than sentinels.
    """
    expect_segments("tlm", segments, number=2)
    source, target = segments
    longest = fitting_lengths(
        max_inputs - len(prefix),
        targets_length=max_targets,
        noise_density=noise_density,
        mean_span_tokens=mean_span_tokens,
    ).raw
    keep = fair_lengths((len(source), len(target)), budget=longest)
    example = corrupt(
        np.concatenate([source[: keep[0]], target[: keep[1]]]),
        rng,
        ids=ids,
        prefix=prefix,
        max_inputs=max_inputs,
        max_targets=max_targets,
        noise_density=noise_density,
        mean_span_tokens=mean_span_tokens,
    )
    cut = sum(keep) < len(source) + len(target)
    return Example(example.inputs, example.targets, truncated=cut)
