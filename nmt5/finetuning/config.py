"""How a checkpoint is fine-tuned; the defaults are nmT5's."""

import dataclasses

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.benchmarks.regimes import SELECTIONS, SETTINGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Length, batch and rhythm of a fine-tuning run, and what it trains on.

    Attributes:
      run_dir: directory of everything that the run writes.
      setting: one of `regimes.SETTINGS`; "" takes "zeroshot" where the task has it, else all of the
        task's own training data.
      selection: what chooses the checkpoint, one of `regimes.SELECTIONS`.
      seed: of order, dropout, and of the few examples of "few_shot".
      train_steps: steps of training.
      eval_period_steps: every so many steps a checkpoint is kept and scored on validation.
      tokens_per_batch: encoder tokens of a batch, examples packed.
      inputs_length: encoder tokens of a row; None takes the task's longest input.
      targets_length: decoder tokens of a row; None fits them to the examples.
      dropout_rate: of the model in training.
      max_train_examples: at most so many of each part, the first ones; None for all.
      max_examples: validation and test on the first so many of each language; None for all.
      watched_examples: validation examples whose loss is logged while training.
      keep_checkpoints: "chosen" keeps the chosen checkpoint when all is done, "all" every one,
        "none" none.
      num_draws: bootstrap draws of the test scores' intervals.

    Raises:
      ConfigError: a value out of range.
    """

    run_dir: str = ""
    setting: str = ""
    selection: str = "all_languages"
    seed: int = 0
    train_steps: int = 10_000
    eval_period_steps: int = 1000
    tokens_per_batch: int = 131_072
    inputs_length: int | None = None
    targets_length: int | None = None
    dropout_rate: float = 0.1
    max_train_examples: int | None = None
    max_examples: int | None = None
    watched_examples: int = 256
    keep_checkpoints: str = "chosen"
    num_draws: int = 1000

    def __post_init__(self):
        faults = [
            f"{name} is {getattr(self, name)!r}, expected 1 or more"
            for name in (
                "train_steps", "eval_period_steps", "tokens_per_batch", "inputs_length",
                "targets_length", "max_train_examples", "max_examples",
            )
            if getattr(self, name) is not None and not getattr(self, name) >= 1
        ]  # fmt: skip
        for kind, name, known in (
            ("setting", self.setting, ("", *SETTINGS)),
            ("selection", self.selection, SELECTIONS),
            ("choice of keep_checkpoints", self.keep_checkpoints, ("chosen", "all", "none")),
        ):
            if name not in known:
                faults.append(unknown_name(kind, name, known))
        if self.watched_examples < 0 or self.num_draws < 0 or not 0 <= self.dropout_rate < 1:
            faults.append("watched_examples and num_draws are 0 or more, dropout_rate in [0, 1)")
        if faults:
            raise ConfigError("FinetuneConfig: " + "; ".join(faults))
