"""Mean lengths of examples, by asking the objective what it makes of texts of mean length."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nmt5.data.mixture import TokenIds
from nmt5.data.objectives import find_objective
from nmt5.data.token_dictionary import TokenDictionary

# The length of some examples depends on where a text is cut (prefix LM), so means are over noise;
# running text has one length of piece for all languages, so more draws cost nothing there.
_DRAWS = {1: 64, 2: 4}
_ORDINARY_ID = 3


def mean_lengths(
    objective: str,
    means: Sequence[float],
    *,
    ids: TokenIds,
    prefix: tuple[int, ...],
    target_prefix: tuple[int, ...],
    max_inputs: int,
    max_targets: int,
    settings: Mapping[str, Any],
) -> np.ndarray:
    """Returns the mean (inputs, targets) of an objective's examples in tokens, EOS counted.

    Between whole lengths it is interpolated. Words are not replaced: translations are about as long
    as what they stand for.

    Args:
      objective: its name.
      means: mean ids of each of its texts.
      ids: the vocabulary's special ids.
      prefix: ids before the inputs.
      target_prefix: ids before the targets.
      max_inputs: longest inputs.
      max_targets: longest targets.
      settings: the objective's own.

    Returns:
      float64 array of shape (2,).
    """
    make = find_objective(objective)
    no_words = TokenDictionary.empty(ids.size)

    def made(lengths: Sequence[int]) -> np.ndarray:
        segments = tuple(np.full(max(n, 1), _ORDINARY_ID, np.int32) for n in lengths)
        total, draws = np.zeros(2), _DRAWS[len(lengths)]
        for seed in range(draws):
            example = make(
                segments,
                np.random.default_rng(seed),
                ids=ids,
                prefix=prefix,
                target_prefix=target_prefix,
                dictionary=no_words,
                max_inputs=max_inputs,
                max_targets=max_targets,
                **settings,
            )
            total += len(example.inputs), len(example.targets)
        return total / draws

    whole = [int(mean) for mean in means]
    below = made(whole)
    found = below.copy()
    for side, mean in enumerate(means):
        if mean % 1:
            longer = [length + (i == side) for i, length in enumerate(whole)]
            found += (made(longer) - below) * (mean % 1)
    return found
