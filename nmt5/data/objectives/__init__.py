"""Objectives: pure functions from stored token ids and a random generator to one example.

All are called alike, `objective(segments, rng, ids=..., prefix=..., max_inputs=...,
max_targets=..., **settings) -> Example`; `OBJECTIVES` lists them by the name that mixtures use.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import numpy as np

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.data.objectives import bart as bart_module
from nmt5.data.objectives import mass as mass_module
from nmt5.data.objectives import prefix_lm as prefix_lm_module
from nmt5.data.objectives import span_corruption as span_corruption_module
from nmt5.data.objectives.denoised_nmt import denoised_nmt
from nmt5.data.objectives.denoised_nmt_lm import denoised_nmt_lm
from nmt5.data.objectives.example import Example
from nmt5.data.objectives.nmt import nmt
from nmt5.data.objectives.tlm import tlm

__all__ = ["OBJECTIVES", "Example", "Objective", "find_objective"]


def _even_halves(inputs_length: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    del settings
    return inputs_length // 2, inputs_length // 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective and what the feed must know of it; calling it calls the function.

    Attributes:
      name: as mixtures and metrics write it.
      function: the pure function.
      num_languages: 1 for one text, 2 for a (source, target) pair.
      language_code: whether its inputs name the target language by default.
      packs: whether several examples share a row; otherwise one example fills it.
      row_lengths: (`DataConfig.inputs_length`, settings) -> default (inputs, targets) of a row.
      segment_tokens: (inputs, targets, settings) -> ids of running text for one example; None for
        pairs.
    """

    name: str
    function: Callable[..., Example]
    num_languages: int
    language_code: bool = False
    packs: bool = True
    row_lengths: Callable[[int, Mapping[str, Any]], tuple[int, int]] = _even_halves
    segment_tokens: Callable[[int, int, Mapping[str, Any]], int] | None = None

    def __call__(
        self, segments: tuple[np.ndarray, ...], rng: np.random.Generator, **settings
    ) -> Example:
        """Makes one example; the function's own docstring describes its settings."""
        return self.function(segments, rng, **settings)


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            name="span_corruption",
            function=span_corruption_module.span_corruption,
            num_languages=1,
            packs=False,
            row_lengths=span_corruption_module.row_lengths,
            segment_tokens=span_corruption_module.segment_tokens,
        ),
        Objective(
            name="mass",
            function=mass_module.mass,
            num_languages=1,
            packs=False,
            row_lengths=mass_module.row_lengths,
            segment_tokens=mass_module.segment_tokens,
        ),
        Objective(
            name="bart",
            function=bart_module.bart,
            num_languages=1,
            packs=False,
            row_lengths=bart_module.row_lengths,
            segment_tokens=bart_module.segment_tokens,
        ),
        Objective(
            name="prefix_lm",
            function=prefix_lm_module.prefix_lm,
            num_languages=1,
            segment_tokens=prefix_lm_module.segment_tokens,
        ),
        Objective(name="tlm", function=tlm, num_languages=2),
        Objective(name="nmt", function=nmt, num_languages=2, language_code=True),
        # A pair as it is, inputs and targets of any task: fine-tuning.
        Objective(name="text_to_text", function=nmt, num_languages=2),
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
