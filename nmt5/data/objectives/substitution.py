"""Random aligned substitution: words of a text become translations from a dictionary.

Source: "Pre-training Multilingual Neural Machine Translation by Leveraging Alignment Information"
(mRASP; Lin et al., 2020), section 2.2: each word of the dictionary is replaced with probability
0.3, by one of its translations into any language.
"""

import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.data.token_dictionary import TokenDictionary

REPLACED_RATE = 0.3


def substitute(
    tokens: np.ndarray, rng: np.random.Generator, *, dictionary: TokenDictionary, rate: float
) -> np.ndarray:
    """Replaces words that the dictionary has, each with probability `rate`.

        text            the  dog  sees  a  hou se           20 is `dog`, 30 31 is `house`
        tokens          10   20   11    12 30  31
        dictionary           20 -> 40      30 31 -> 50 or 51 52
        result          10   40   11    12 51  52

    >>> letters = np.ones(100, bool)
    >>> words = letters.copy()
    >>> words[[10, 20, 11, 12, 30]] = False  # ids that begin a word
    >>> dictionary = TokenDictionary.from_entries(
    ...     {(20,): [(40,)], (30, 31): [(50,), (51, 52)]}, begins=words, ends=letters)
    >>> tokens, rng = np.array([10, 20, 11, 12, 30, 31], np.int32), np.random.default_rng(1)
    >>> substitute(tokens, rng, dictionary=dictionary, rate=1.0)
    array([10, 40, 11, 12, 51, 52], dtype=int32)

    Scripts that put no space between words have few word boundaries, so little is replaced there.

    Args:
      tokens: int32 array of shape (length,).
      rng: draws which words, and which of several translations.
      dictionary: words and translations as ids.
      rate: probability of each word that is found.

    Returns:
      int32 array of another length; the same array if nothing is replaced.

    Raises:
      ConfigError: a rate out of range.
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"substitution: rate {rate}, expected 0 < rate <= 1")
    words = dictionary.find(tokens)
    if not words:
        return tokens
    parts, taken = [], 0
    for (start, end, word), draw, choice in zip(words, *rng.random((2, len(words))), strict=True):
        if draw >= rate:
            continue
        option = dictionary.option(word, int(choice * dictionary.num_options(word)))
        parts += [tokens[taken:start], option]
        taken = end
    parts.append(tokens[taken:])
    return np.concatenate(parts).astype(np.int32, copy=False) if taken else tokens
