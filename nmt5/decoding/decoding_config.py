"""How outputs are searched for, as settings."""

import dataclasses

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.decoding.beam import LengthRule
from nmt5.decoding.sampling import check_sampling

METHODS = ("greedy", "beam", "sample")
EARLY_STOPPING = ("no", "yes", "never")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """Settings of `nmt5.decoding.translate`.

    Attributes:
      method: "greedy", "beam" or "sample".
      max_input_tokens: longer inputs are cut and counted; end of sequence included.
      max_output_tokens: longest output, end of sequence included.
      batch_rows: sources decoded together; memory grows with it times the beam size.
      beam_size: beams per source.
      alpha: exponent of the length penalty; see `nmt5.decoding.beam`.
      length_rule: "t5x" or "hf".
      early_stopping: "no", "yes" or "never", for the "hf" rule.
      temperature: of sampling, above 0.
      top_k: sampling draws from so many best ids only; 0 for all.
      top_p: sampling draws from the nucleus of this probability only.
      seed: of sampling; an output depends on it, the source's index and the source.

    Raises:
      ConfigError: a value is out of range.
    """

    method: str = "greedy"
    max_input_tokens: int = 256
    max_output_tokens: int = 128
    batch_rows: int = 64
    beam_size: int = 4
    alpha: float = 0.6
    length_rule: str = "t5x"
    early_stopping: str = "no"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        rules = [rule.value for rule in LengthRule]
        for kind, name, known in (
            ("decoding method", self.method, METHODS),
            ("length rule", self.length_rule, rules),
            ("early_stopping", self.early_stopping, EARLY_STOPPING),
        ):
            if name not in known:
                raise ConfigError(f"DecodingConfig: {unknown_name(kind, name, known)}")
        for field in ("max_input_tokens", "max_output_tokens", "batch_rows", "beam_size"):
            value = getattr(self, field)
            if not value >= 1:
                raise ConfigError(f"DecodingConfig.{field} is {value}; it must be 1 or more")
        if self.alpha < 0:
            raise ConfigError(f"DecodingConfig.alpha is {self.alpha}; it must be 0 or more")
        check_sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    def signature(self) -> str:
        """Returns the settings that outputs depend on, for a score's signature."""
        lengths = f"in:{self.max_input_tokens}|out:{self.max_output_tokens}"
        if self.method == "beam":
            stopping = f"|early:{self.early_stopping}" if self.length_rule == "hf" else ""
            rule = f"beam:{self.beam_size}|alpha:{self.alpha:g}|rule:{self.length_rule}{stopping}"
            return f"{rule}|{lengths}"
        if self.method == "sample":
            cuts = f"t:{self.temperature:g}|k:{self.top_k}|p:{self.top_p:g}|seed:{self.seed}"
            return f"sample|{cuts}|{lengths}"
        return f"greedy|{lengths}"
