"""Objectives: pure functions from stored token ids and a random generator to one example.

All are called alike, `objective(segments, rng, ids=..., prefix=..., max_inputs=...,
max_targets=..., **settings) -> Example`; `OBJECTIVES` lists them by the name that mixtures use.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.data.objectives.denoised_nmt import denoised_nmt
from nmt5.data.objectives.denoised_nmt_lm import denoised_nmt_lm
from nmt5.data.objectives.example import Example
from nmt5.data.objectives.nmt import nmt
from nmt5.data.objectives.span_corruption import span_corruption
from nmt5.data.objectives.tlm import tlm

__all__ = ["OBJECTIVES", "Example", "Objective", "find_objective"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective and what the feed must know of it; calling it calls the function.

    Attributes:
      name: as mixtures and metrics write it.
      function: the pure function.
      num_languages: 1 for one text, 2 for a (source, target) pair.
      language_code: whether its inputs name the target language by default.
    """

    name: str
    function: Callable[..., Example]
    num_languages: int
    language_code: bool = False

    def __call__(
        self, segments: tuple[np.ndarray, ...], rng: np.random.Generator, **settings
    ) -> Example:
        """Makes one example; the function's own docstring describes its settings."""
        return self.function(segments, rng, **settings)


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(name="span_corruption", function=span_corruption, num_languages=1),
        Objective(name="tlm", function=tlm, num_languages=2),
        Objective(name="nmt", function=nmt, num_languages=2, language_code=True),
        Objective(name="denoised_nmt", function=denoised_nmt, num_languages=2, language_code=True),
        Objective(
            name="denoised_nmt_lm", function=denoised_nmt_lm, num_languages=2, language_code=True
        ),
    )
}


def find_objective(name: str) -> Objective:
    """Returns the objective of that name; raises `ConfigError` with the nearest names."""
    if name not in OBJECTIVES:
        raise ConfigError(unknown_name("objective", name, OBJECTIVES))
    return OBJECTIVES[name]
