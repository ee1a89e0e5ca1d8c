"""Span corruption as arithmetic: how long the pieces are, where the noise lies, what replaces it.

Every number and rule here is that of mT5's pre-training tasks, so that a full row of 1,137 tokens
becomes exactly 1,024 inputs and 229 targets. NumPy only, no global state.

Source: https://github.com/google-research/text-to-text-transfer-transformer, version 0.9.4,
`t5/data/preprocessors.py`: `random_spans_helper`, `random_spans_noise_mask`,
`noise_span_to_unique_sentinel`; the tests compare with these functions.
"""

import dataclasses
import functools

import numpy as np

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.mixture import TokenIds

NOISE_DENSITY = 0.15
MEAN_SPAN_TOKENS = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptedLengths:
    """Lengths in tokens of one corrupted text.

    Attributes:
      raw: tokens of the text before corruption.
      noise: how many of them are removed from the inputs.
      spans: in how many runs.
      inputs: tokens that stay, a sentinel per span and EOS.
      targets: removed tokens, a sentinel per span and EOS.
    """

    raw: int
    noise: int
    spans: int
    inputs: int
    targets: int


def corrupted_lengths(
    raw_tokens: int,
    *,
    noise_density: float = NOISE_DENSITY,
    mean_span_tokens: float = MEAN_SPAN_TOKENS,
) -> CorruptedLengths:
    """Returns what span corruption makes of a text of `raw_tokens` tokens.

    Noise is round(raw x density), spans are round(noise / mean), both half to even.

    >>> corrupted_lengths(1137)
    CorruptedLengths(raw=1137, noise=171, spans=57, inputs=1024, targets=229)

    Args:
      raw_tokens: length of the text, EOS not counted.
      noise_density: part of the text that is removed, in (0, 1).
      mean_span_tokens: mean length of a removed run, at least 1.

    Raises:
      ConfigError: density or mean span out of range.
    """
    _check_settings(noise_density, mean_span_tokens)
    noise = round(raw_tokens * noise_density)
    spans = round(noise / mean_span_tokens)
    return CorruptedLengths(
        raw=raw_tokens,
        noise=noise,
        spans=spans,
        inputs=raw_tokens - noise + spans + 1,
        targets=noise + spans + 1,
    )


@functools.lru_cache(maxsize=256)
def fitting_lengths(
    inputs_length: int,
    *,
    targets_length: int | None = None,
    noise_density: float = NOISE_DENSITY,
    mean_span_tokens: float = MEAN_SPAN_TOKENS,
) -> CorruptedLengths:
    """Returns the lengths of the longest text whose corruption fits a row.

    >>> fitting_lengths(512).raw, fitting_lengths(512).targets
    (568, 114)
    >>> fitting_lengths(512, targets_length=58).raw  # 58 targets: 43 noise in 14 spans, EOS
    289

    Args:
      inputs_length: encoder length of the row, EOS counted.
      targets_length: decoder length of the row; None lets the targets be as long as they come.
      noise_density: part of the text that is removed, in (0, 1).
      mean_span_tokens: mean length of a removed run, at least 1.

    Raises:
      ConfigError: settings out of range, or a row too short for any text.
    """

    def fits(raw_tokens: int) -> bool:
        lengths = corrupted_lengths(
            raw_tokens, noise_density=noise_density, mean_span_tokens=mean_span_tokens
        )
        return lengths.inputs <= inputs_length and (
            targets_length is None or lengths.targets <= targets_length
        )

    _check_settings(noise_density, mean_span_tokens)
    # Inputs never get shorter when the text grows, because a span holds at least one token; the
    # text is at most 1 / (1 - density) times longer than what stays of it.
    low, high = 0, int(inputs_length / (1 - noise_density)) + 2
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    if low < 1 or not fits(low):
        raise ConfigError(
            f"span corruption: a row of {inputs_length} inputs and {targets_length} targets holds "
            "no text; use at least 2 inputs and 2 targets"
        )
    return corrupted_lengths(low, noise_density=noise_density, mean_span_tokens=mean_span_tokens)


def random_composition(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Returns `parts` positive integers that sum to `total`, each such list equally likely.

    >>> random_composition(5, 5, np.random.default_rng(0))
    array([1, 1, 1, 1, 1])

    Args:
      total: the sum, at least `parts`.
      parts: how many integers, at least 1.
      rng: where the choice comes from.

    Returns:
      int64 array of shape (parts,).
    """
    cuts = np.empty(parts + 1, np.int64)
    cuts[0], cuts[parts] = 0, total
    # parts - 1 of the total - 1 gaps between neighbours become cuts.
    inner = rng.permutation(total - 1)[: parts - 1]
    inner.sort()
    np.add(inner, 1, out=cuts[1:parts])
    return cuts[1:] - cuts[:-1]


def random_spans_noise_mask(
    length: int,
    rng: np.random.Generator,
    *,
    noise_density: float = NOISE_DENSITY,
    mean_span_tokens: float = MEAN_SPAN_TOKENS,
) -> np.ndarray:
    """Chooses which tokens of a text are noise.

    Runs alternate, kept text first, so the first token is never noise and the last always is;
    given the counts, every mask of that form is equally likely. Short texts lose their end:

    >>> random_spans_noise_mask(5, np.random.default_rng(0)).astype(int)
    array([0, 0, 0, 0, 1])

    Args:
      length: tokens of the text, at least 1.
      rng: where the choice comes from.
      noise_density: part of the text that is noise, in (0, 1).
      mean_span_tokens: mean length of a run of noise, at least 1.

    Returns:
      bool array of shape (length,), True where the token is noise.
    """
    padded = max(length, 2)
    # In float32, as t5: at 10 tokens and density 0.15 the two precisions may round differently.
    noise = round(float(np.float32(padded) * np.float32(noise_density)))
    noise = min(max(noise, 1), padded - 1)
    spans = max(round(float(np.float32(noise) / np.float32(mean_span_tokens))), 1)
    spans = min(spans, noise, padded - noise)
    lengths = np.empty((spans, 2), np.int64)
    lengths[:, 1] = random_composition(noise, spans, rng)
    lengths[:, 0] = random_composition(padded - noise, spans, rng)
    is_noise = np.zeros((spans, 2), bool)
    is_noise[:, 1] = True
    return np.repeat(is_noise.reshape(-1), lengths.reshape(-1))[:length]


def replace_runs(tokens: np.ndarray, mask: np.ndarray, *, ids: TokenIds) -> np.ndarray:
    """Puts one sentinel in place of each maximal run of True, the k-th sentinel for the k-th run.

    With the noise mask it gives the inputs of span corruption, with its negation the targets:

        tokens          a  b  c  d  e  f
        mask            0  1  1  0  0  1
        with mask       a  X     d  e  Y
        with ~mask      X  b  c  Y     f

    Args:
      tokens: int32 array of shape (length,).
      mask: bool array of shape (length,).
      ids: the vocabulary's special ids.

    Returns:
      int32 array of shape (length - number of True + number of runs,).

    Raises:
      DataError: more runs than the vocabulary has sentinels; t5 would reuse ordinary ids.
    """
    follows_true = np.empty_like(mask)
    follows_true[:1] = False
    follows_true[1:] = mask[:-1]
    starts = np.flatnonzero(mask & ~follows_true)
    if len(starts) > ids.num_sentinels:
        raise DataError(
            f"span corruption: {len(starts)} spans in {len(tokens)} tokens, but the vocabulary has "
            f"{ids.num_sentinels} sentinels; use shorter inputs, longer spans or a lower density"
        )
    replaced = tokens.astype(np.int32)
    replaced[starts] = np.arange(ids.size - 1, ids.size - 1 - len(starts), -1, dtype=np.int32)
    return replaced[~(mask & follows_true)]


def _check_settings(noise_density: float, mean_span_tokens: float) -> None:
    if not 0 < noise_density < 1:
        raise ConfigError(f"span corruption: noise_density {noise_density}, expected 0 < x < 1")
    if not mean_span_tokens >= 1:
        raise ConfigError(f"span corruption: mean_span_tokens {mean_span_tokens}, expected >= 1")
