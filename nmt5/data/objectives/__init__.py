"""Objectives: pure functions from stored token ids and a random generator to one example.

All are called alike, `objective(segments, rng, ids=..., prefix=..., max_inputs=...,
max_targets=..., **settings) -> Example`; `OBJECTIVES` lists them by the name that mixtures use.
These arguments mean the same everywhere:

  segments: int32 arrays of token ids without EOS, one of running text or (source, target).
  rng: where all that is random comes from.
  ids: the vocabulary's special ids.
  prefix: ids before the inputs, those of the target language's code or none; never masked.
  max_inputs: longest inputs in tokens, prefix and EOS counted.
  max_targets: longest targets in tokens, EOS counted.

A language code at the decoder's start instead is put there by `Objective`, for all alike.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import numpy as np

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.data.objectives import alm as alm_module
from nmt5.data.objectives import bart as bart_module
from nmt5.data.objectives import csp as csp_module
from nmt5.data.objectives import mass as mass_module
from nmt5.data.objectives import prefix_lm as prefix_lm_module
from nmt5.data.objectives import ready_made as ready_made_module
from nmt5.data.objectives import span_corruption as span_corruption_module
from nmt5.data.objectives.denoised_nmt import denoised_nmt
from nmt5.data.objectives.denoised_nmt_lm import denoised_nmt_lm
from nmt5.data.objectives.example import Example
from nmt5.data.objectives.nmt import nmt
from nmt5.data.objectives.ras import ras
from nmt5.data.objectives.tlm import tlm
from nmt5.data.token_dictionary import TokenDictionary

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
      replaces_words: whether it takes a `TokenDictionary` of its source's language.
      ready_made: whether its texts are inputs and targets of a task, not of languages.
      packs: whether several examples share a row; otherwise one example fills it.
      row_lengths: (`DataConfig.inputs_length`, settings) -> default (inputs, targets) of a row.
      segment_tokens: (inputs, targets, settings) -> ids of running text for one example; None for
        pairs.
    """

    name: str
    function: Callable[..., Example]
    num_languages: int
    language_code: bool = False
    replaces_words: bool = False
    ready_made: bool = False
    packs: bool = True
    row_lengths: Callable[[int, Mapping[str, Any]], tuple[int, int]] = _even_halves
    segment_tokens: Callable[[int, int, Mapping[str, Any]], int] | None = None

    def __call__(
        self,
        segments: tuple[np.ndarray, ...],
        rng: np.random.Generator,
        *,
        max_targets: int,
        target_prefix: tuple[int, ...] = (),
        dictionary: TokenDictionary | None = None,
        **settings: Any,
    ) -> Example:
        """Makes one example; the module says what all objectives are given, each its own settings.

        A target prefix, the code of the target language, begins the targets, so that the decoder
        reads it behind its usual first id 0:

            targets          5 6 20 21 1        target prefix 5 6
            decoder inputs   0 5 6 20 21

        Its ids count in the loss, as mBART-50's and M2M-100's do and as SeqIO's feature converters
        have it for every target; in use they are forced.

        Args:
          segments: as for every objective.
          rng: as for every objective.
          max_targets: longest targets in tokens, target prefix and EOS counted.
          target_prefix: ids that begin the targets.
          dictionary: for an objective that replaces words.
          **settings: the other arguments of the function.

        Raises:
          ConfigError: no dictionary where one is needed, targets that hold the prefix only, or
            what the function raises.
        """
        if self.replaces_words:
            if dictionary is None:
                raise ConfigError(
                    f"objective '{self.name}' replaces words: give its tasks a dictionary"
                )
            settings["dictionary"] = dictionary
        room = max_targets - len(target_prefix)
        if target_prefix and room < 2:
            raise ConfigError(
                f"objective '{self.name}': targets of {max_targets} tokens hold no text behind the "
                f"{len(target_prefix)} of the language code; use longer rows"
            )
        example = self.function(segments, rng, max_targets=room, **settings)
        if not target_prefix:
            return example
        begun = np.concatenate([np.array(target_prefix, np.int32), example.targets])
        return dataclasses.replace(example, targets=begun)


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
        Objective(
            name="csp",
            function=csp_module.csp,
            num_languages=1,
            replaces_words=True,
            row_lengths=csp_module.row_lengths,
            segment_tokens=csp_module.segment_tokens,
        ),
        Objective(
            name="alm",
            function=alm_module.alm,
            num_languages=1,
            replaces_words=True,
            row_lengths=alm_module.row_lengths,
            segment_tokens=alm_module.segment_tokens,
        ),
        Objective(name="tlm", function=tlm, num_languages=2),
        Objective(name="nmt", function=nmt, num_languages=2, language_code=True),
        # A pair as it is, inputs and targets of any task: fine-tuning.
        Objective(name="text_to_text", function=nmt, num_languages=2),
        Objective(
            name="ready_made",
            function=ready_made_module.ready_made,
            num_languages=2,
            ready_made=True,
            row_lengths=ready_made_module.row_lengths,
        ),
        Objective(name="denoised_nmt", function=denoised_nmt, num_languages=2, language_code=True),
        Objective(
            name="denoised_nmt_lm", function=denoised_nmt_lm, num_languages=2, language_code=True
        ),
        Objective(
            name="ras", function=ras, num_languages=2, language_code=True, replaces_words=True
        ),
    )
}


def find_objective(name: str) -> Objective:
    """Returns the objective of that name; raises `ConfigError` with the nearest names."""
    if name not in OBJECTIVES:
        raise ConfigError(unknown_name("objective", name, OBJECTIVES))
    return OBJECTIVES[name]
