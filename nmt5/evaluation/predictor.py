"""Outputs of a checkpoint on the examples of a task."""

from collections.abc import Callable, Sequence
import dataclasses
import os

from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.translate import Outputs, translate
from nmt5.evaluation.benchmarks.benchmark import Benchmark
from nmt5.evaluation.loading import LoadedModel, load_model
from nmt5.evaluation.task_config import TaskConfig
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.token_examples import input_ids


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Texts, and what decoding says of them; `found.ids` are the ids that the model wrote."""

    texts: list[str]
    found: Outputs


def predict(
    model: LoadedModel,
    examples: Sequence[TextExample],
    *,
    decoding: DecodingConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Writes an output for each example.

    Args:
      model: the model.
      examples: in any order; those of equal length are decoded together.
      decoding: the search, from `task_decoding`.
      progress: takes (examples done, of how many).
    """
    vocabulary, ids = model.vocabulary, model.vocabulary.token_ids
    found = translate(
        model.params,
        config=model.config,
        token_lists=input_ids(examples, vocabulary),
        num_ids=ids.size,
        eos=ids.eos,
        pad=ids.pad,
        decoding=decoding,
        progress=progress,
    )
    return Predictions([vocabulary.decode(output) for output in found.ids], found)


def task_decoding(
    benchmark: Benchmark, decoding: DecodingConfig, *, task: TaskConfig
) -> DecodingConfig:
    """Returns the search with the lengths of the task, the settings' before the benchmark's."""
    return dataclasses.replace(
        decoding,
        max_input_tokens=task.inputs_tokens or benchmark.inputs_tokens,
        max_output_tokens=task.targets_tokens or benchmark.targets_tokens,
    )


class CheckpointPredictor:
    """Predicts with one checkpoint after the other; the last one stays loaded."""

    def __init__(self, *, vocabulary: Vocabulary, decoding: DecodingConfig, task: TaskConfig):
        self._vocabulary, self._decoding, self._task = vocabulary, decoding, task
        self._loaded: tuple[str, LoadedModel] | None = None

    def __call__(
        self,
        checkpoint: os.PathLike | str,
        examples: Sequence[TextExample],
        *,
        benchmark: Benchmark,
    ) -> list[str]:
        """Returns the outputs of a checkpoint on the examples of a task."""
        name = os.fspath(checkpoint)
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # the memory of the one before, first
            self._loaded = name, load_model(name, vocabulary=self._vocabulary)
        decoding = task_decoding(benchmark, self._decoding, task=self._task)
        return predict(self._loaded[1], examples, decoding=decoding).texts
