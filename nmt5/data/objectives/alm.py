"""ALM: span corruption of a text some of whose words are those of other languages.

Source: "Alternating Language Modeling for Cross-Lingual Pre-Training" (Yang et al., 2020). There
the other language's words come from an aligned translation, here from a dictionary, so that any
text will do; spans are mT5's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives import span_corruption as spans_of_text
from nmt5.data.objectives.csp import PIECES_PER_ROW
from nmt5.data.objectives.example import Example, expect_segments
from nmt5.data.objectives.span_corruption import corrupt
from nmt5.data.objectives.substitution import REPLACED_RATE, substitute
from nmt5.data.spans import MEAN_SPAN_TOKENS, NOISE_DENSITY
from nmt5.data.token_dictionary import TokenDictionary


def alm(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    dictionary: TokenDictionary,
    rate: float = REPLACED_RATE,
    noise_density: float = NOISE_DENSITY,
    mean_span_tokens: float = MEAN_SPAN_TOKENS,
) -> Example:
    """Replaces words of a text, then corrupts it as mT5 does.

        text      10 11 12 13 14 15 16
        replaced     40                        11 -> 40 in the dictionary
        noise                       x
        inputs    10 40 12 13 14 15 99  1      99 = first sentinel, 1 = EOS
        targets                     99 16  1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids, no_letters = TokenIds(size=100, num_sentinels=10, fingerprint=""), np.zeros(100, bool)
    >>> words = TokenDictionary.from_entries({(11,): [(40,)]}, begins=no_letters, ends=no_letters)
    >>> text, rng = np.arange(10, 17, dtype=np.int32), np.random.default_rng(0)
    >>> limits = {"max_inputs": 16, "max_targets": 16}
    >>> example = alm((text,), rng, ids=ids, dictionary=words, rate=1.0, **limits)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([10, 40, 12, 13, 14, 15, 99, 1], [99, 16, 1])

    Args:
      segments: one text.
      rng: draws the words and the noise.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs.
      max_inputs: longest inputs.
      max_targets: longest targets.
      dictionary: words of the text's language.
      rate: probability of each word that is in the dictionary.
      noise_density: part of the text that is removed.
      mean_span_tokens: mean length of a removed run.

    Returns:
      The example; what is too long after replacing is cut before noise is drawn.

    Raises:
      ConfigError: not one text, settings out of range, or limits that hold no text.
      DataError: more spans than sentinels.
    """
    expect_segments("alm", segments, number=1)
    return corrupt(
        substitute(segments[0], rng, dictionary=dictionary, rate=rate),
        rng,
        ids=ids,
        prefix=prefix,
        max_inputs=max_inputs,
        max_targets=max_targets,
        noise_density=noise_density,
        mean_span_tokens=mean_span_tokens,
    )


def segment_tokens(inputs_length: int, targets_length: int, settings: Mapping[str, Any]) -> int:
    """Returns the text of an eighth of a row."""
    return spans_of_text.segment_tokens(
        inputs_length // PIECES_PER_ROW, targets_length // PIECES_PER_ROW, settings
    )


def row_lengths(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the row that the pieces of a row of inputs come to."""
    _, targets = spans_of_text.row_lengths(inputs_length // PIECES_PER_ROW, settings)
    return inputs_length, PIECES_PER_ROW * targets
