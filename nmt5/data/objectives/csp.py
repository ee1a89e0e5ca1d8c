"""CSP: a fragment of a text is written in other languages' words, and the targets give it back.

Source: "CSP: Code-Switching Pre-training for Neural Machine Translation" (Yang et al., 2020). As in
MASS the fragment is a part of the text without gaps, but its words become translations instead of
masks; those that the dictionary lacks stay as they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import TokenIds
from nmt5.data.objectives.example import Example, closed, expect_segments
from nmt5.data.objectives.substitution import substitute
from nmt5.data.token_dictionary import TokenDictionary

REPLACED_PART = 0.5
# Replaced text may be longer or shorter; many pieces to a row leave little of it empty or cut.
PIECES_PER_ROW = 8


def csp(
    segments: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    ids: TokenIds,
    prefix: tuple[int, ...] = (),
    max_inputs: int,
    max_targets: int,
    dictionary: TokenDictionary,
    replaced_part: float = REPLACED_PART,
    rate: float = 1.0,
) -> Example:
    """Replaces the words of one fragment of a text.

        text      10 11 12 13
        fragment        x  x
        inputs    10 11 40 13 1       12 -> 40 in the dictionary
        targets         12 13 1

    >>> from nmt5.data.mixture import TokenIds
    >>> ids, no_letters = TokenIds(size=100, num_sentinels=10, fingerprint=""), np.zeros(100, bool)
    >>> words = TokenDictionary.from_entries({(12,): [(40,)]}, begins=no_letters, ends=no_letters)
    >>> text, rng = np.arange(10, 14, dtype=np.int32), np.random.default_rng(3)
    >>> example = csp((text,), rng, ids=ids, dictionary=words, max_inputs=16, max_targets=16)
    >>> example.inputs.tolist(), example.targets.tolist()
    ([10, 11, 40, 13, 1], [12, 13, 1])

    Args:
      segments: one text.
      rng: draws the fragment's place and the words.
      ids: as for every objective (`nmt5.data.objectives`), like the three after it.
      prefix: ids before the inputs.
      max_inputs: longest inputs.
      max_targets: longest targets.
      dictionary: words of the text's language.
      replaced_part: length of the fragment as a part of the text, in (0, 1].
      rate: probability of each word of the fragment that is in the dictionary.

    Returns:
      The example; a side that is too long loses its end.

    Raises:
      ConfigError: not one text, or a part or rate out of range.
    """
    expect_segments("csp", segments, number=1)
    (text,) = segments
    length = max(round(len(text) * _checked_part(replaced_part)), 1)
    start = int(rng.integers(len(text) - length + 1))
    fragment = text[start : start + length]
    replaced = substitute(fragment, rng, dictionary=dictionary, rate=rate)
    parts = [prefix, text[:start], replaced, text[start + length :]]
    return Example(
        inputs=closed(parts, limit=max_inputs, eos=ids.eos),
        targets=closed([fragment], limit=max_targets, eos=ids.eos),
        truncated=sum(map(len, parts)) >= max_inputs or length >= max_targets,
    )


def segment_tokens(inputs_length: int, targets_length: int, settings: Mapping[str, Any]) -> int:
    """Returns an eighth of what fits a row."""
    part = _checked_part(settings.get("replaced_part", REPLACED_PART))
    each = min(inputs_length // PIECES_PER_ROW - 1, int((targets_length // PIECES_PER_ROW) / part))
    return max(each, 1)


def row_lengths(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the row that the pieces of a row of inputs come to."""
    part = _checked_part(settings.get("replaced_part", REPLACED_PART))
    each = max(round((inputs_length // PIECES_PER_ROW - 1) * part), 1) + 1
    return inputs_length, PIECES_PER_ROW * each


def _checked_part(part: float) -> float:
    if not 0 < part <= 1:
        raise ConfigError(f"objective 'csp': replaced_part {part}, expected 0 < x <= 1")
    return part
