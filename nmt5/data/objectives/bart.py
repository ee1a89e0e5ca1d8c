"""BART: sentences in random order and spans replaced by one mask each; the targets are the text.

Source: "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language Generation,
Translation, and Comprehension" (Lewis et al., 2020) and mBART (Liu et al., 2020): text infilling of
30 or 35% with span lengths from a Poisson distribution of mean 3 or 3.5, and sentence permutation.
The first sentinel stands for the mask token. A span of length 0 inserts a mask.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, closed, expect_segments

MASKED_PART = 0.3
MEAN_SPAN_TOKENS = 3.0


def bart(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    masked_part: float = MASKED_PART,
    mean_span_tokens: float = MEAN_SPAN_TOKENS,
    sentence_end_ids: Sequence[int] = (),
) -> Example:
    """Corrupts one text as BART does.

        text      10 11 5 12 13 5         5 ends a sentence
        permuted  12 13 5 10 11 5
        noise              x  x
        inputs    12 13 5 99    5 1       99 = first sentinel, 1 = EOS
        targets   10 11 5 12 13 5 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids = TokenIds(size=100, num_sentinels=10, fingerprint="")
    >>> text, rng = np.array([10, 11, 5, 12, 13, 5], np.int32), np.random.default_rng(21)
    >>> limits = {"max_inputs": 16, "max_targets": 16}
    >>> example = bart((text,), rng, ids=ids, sentence_end_ids=(5,), **limits)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([12, 13, 5, 99, 5, 1], [10, 11, 5, 12, 13, 5, 1])

    Args:
      segments: one text.
      rng: where order and noise come from.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs.
      max_inputs: longest inputs.
      max_targets: longest targets.
      masked_part: part of the text that is replaced, in [0, 1).
      mean_span_tokens: mean length of a span, above 0.
      sentence_end_ids: ids after which a sentence ends; none leaves the order as it is.

    Returns:
      The example; a text too long for the limits loses its end first.

    Raises:
      ConfigError: not one text, or settings out of range.
    """
    expect_segments("bart", segments, number=1)
    if not 0 <= masked_part < 1 or not mean_span_tokens > 0:
        raise ConfigError(
            f"objective 'bart': masked_part {masked_part}, mean_span_tokens {mean_span_tokens}; "
            "expected 0 <= part < 1 and a positive mean"
        )
    (text,) = segments
    kept = text[: segment_tokens(max_inputs - len(prefix), max_targets, {})]
    shuffled = permute_sentences(kept, rng, sentence_end_ids=sentence_end_ids)
    noisy = infill(
        shuffled,
        rng,
        mask=ids.sentinel(0),
        num_masked=round(len(kept) * masked_part),
        mean_span_tokens=mean_span_tokens,
    )
    return Example(
        inputs=closed([prefix, noisy], limit=max_inputs, eos=ids.eos),
        targets=closed([kept], limit=max_targets, eos=ids.eos),
        truncated=len(kept) < len(text) or len(prefix) + len(noisy) >= max_inputs,
    )


def permute_sentences(
    text: np.ndarray, rng: np.random.Generator, *, sentence_end_ids: Sequence[int]
) -> np.ndarray:
    """Returns the sentences of a text in random order; what follows the last end counts as one."""
    if not len(sentence_end_ids):
        return text
    ends = np.flatnonzero(np.isin(text, sentence_end_ids)) + 1
    sentences = [part for part in np.split(text, ends) if len(part)]
    return np.concatenate([sentences[i] for i in rng.permutation(len(sentences))])


def infill(
    text: np.ndarray,
    rng: np.random.Generator,
    *,
    mask: int,
    num_masked: int,
    mean_span_tokens: float,
) -> np.ndarray:
    """Replaces spans of Poisson length by one mask each until `num_masked` tokens are gone.

    Spans neither overlap nor touch each other: spans and the kept tokens between them are in
    uniformly random order, one kept token at least between two spans.
    """
    lengths: list[int] = []
    left = num_masked
    # Each span needs a kept token beside it; spans of length 0 would otherwise go on for ever.
    while left > 0 and len(lengths) < len(text) - num_masked:
        lengths.append(min(int(rng.poisson(mean_span_tokens)), left))
        left -= lengths[-1]
    num_kept = len(text) - sum(lengths)
    # A span stands before some of the kept tokens, or at the end: choose different places.
    places = np.sort(rng.permutation(num_kept + 1)[: len(lengths)]).tolist()
    parts, at, kept = [], 0, 0
    for place, length in zip(places, lengths):
        parts += [text[at : at + place - kept], [mask]]
        at += place - kept + length
        kept = place
    parts.append(text[at:])
    return np.concatenate(parts).astype(np.int32)


def segment_tokens(inputs_length: int, targets_length: int, settings: Mapping[str, Any]) -> int:
    """Returns the longest text whose targets fit; inputs are nearly always shorter."""
    del settings
    return max(min(inputs_length, targets_length) - 1, 1)


def row_lengths(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Returns an even row, since the targets are the whole text."""
    del settings
    return inputs_length, inputs_length
