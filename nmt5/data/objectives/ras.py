"""RAS: translation of a source sentence some of whose words are already those of other languages.

Source: mRASP (see `nmt5.data.objectives.substitution`).
"""

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, expect_segments
from nmt5.data.objectives.nmt import nmt
from nmt5.data.objectives.substitution import REPLACED_RATE, substitute
from nmt5.data.token_dictionary import TokenDictionary


def ras(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    dictionary: TokenDictionary,
    rate: float = REPLACED_RATE,
) -> Example:
    """Makes a translation example with words of the source replaced.

        source    10 11 12      target  20 21      prefix  5 6 (`<2fr> `)
        replaced     40                            11 -> 40 in the dictionary
        inputs    5 6 10 40 12 1
        targets   20 21 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids, no_letters = TokenIds(size=100, num_sentinels=10, fingerprint=""), np.zeros(100, bool)
    >>> words = TokenDictionary.from_entries({(11,): [(40,)]}, begins=no_letters, ends=no_letters)
    >>> pair, rng = (np.array([10, 11, 12]), np.array([20, 21])), np.random.default_rng(0)
    >>> limits = {"max_inputs": 16, "max_targets": 16}
    >>> ras(pair, rng, ids=ids, prefix=(5, 6), dictionary=words, rate=1.0, **limits).inputs.tolist()
    [5, 6, 10, 40, 12, 1]

    Args:
      segments: (source, target).
      rng: draws the words.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: the code of the target language.
      max_inputs: longest inputs.
      max_targets: longest targets.
      dictionary: words of the source's language.
      rate: probability of each word that is in the dictionary.

    Returns:
      The example; a side that is too long loses its end.

    Raises:
      ConfigError: not a pair, or a rate out of range.
    """
    expect_segments("ras", segments, number=2)
    source, target = segments
    return nmt(
        (substitute(source, rng, dictionary=dictionary, rate=rate), target),
        ids=ids,
        prefix=prefix,
        max_inputs=max_inputs,
        max_targets=max_targets,
    )
