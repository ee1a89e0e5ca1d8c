"""A SeqIO mixture that carries shares of tokens, though SeqIO draws examples."""

from collections.abc import Mapping
import contextvars
from typing import Any

import seqio
import tensorflow as tf

from nmt5.data.definitions import MixtureDefinition
from nmt5.data.locations import find_store, find_vocabulary
from nmt5.data.resolution import example_rates_of
from nmt5.data.task_vocabulary import TaskVocabulary

INPUTS_LENGTH = 1024


class TokenShareMixture(seqio.Mixture):
    """A mixture whose rates of examples give parallel text its share of encoder tokens.

    Rates depend on how long examples are, hence on the `sequence_length` that is asked for; they
    are worked out when the first dataset of that length is.
    """

    def __init__(self, name: str, tasks, *, definition: MixtureDefinition, **kwargs):
        kwargs["default_rate"] = self._rate
        super().__init__(name, tasks, **kwargs)
        self.definition = definition
        self._rates: dict[Any, dict[str, float]] = {}

    def get_dataset(self, sequence_length=None, *args, **kwargs) -> tf.data.Dataset:
        """As `seqio.Mixture.get_dataset`."""
        token = _lengths.set(dict(sequence_length or {}))
        try:
            return super().get_dataset(sequence_length, *args, **kwargs)
        finally:
            _lengths.reset(token)

    def _rate(self, task: seqio.Task) -> float:
        own = task.output_features["targets"].vocabulary
        # A task of somebody else's has SeqIO's own vocabulary, over the file that is set.
        vocabulary = own.found() if isinstance(own, TaskVocabulary) else find_vocabulary()
        lengths, store = _lengths.get() or {}, find_store()
        key = (vocabulary.fingerprint, store, *sorted(lengths.items()))
        if key not in self._rates:
            self._rates[key] = example_rates_of(
                self.definition,
                store=store,
                vocabulary=vocabulary,
                inputs_length=lengths.get("inputs") or INPUTS_LENGTH,
                targets_length=lengths.get("targets"),
            )
        return self._rates[key][task.name]


# What the dataset under construction was asked for; SeqIO tells rate functions the task alone.
_lengths: contextvars.ContextVar[Mapping[str, int] | None] = contextvars.ContextVar(
    "lengths", default=None
)
