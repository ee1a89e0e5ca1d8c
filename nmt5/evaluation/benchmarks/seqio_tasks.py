"""Somebody's registered SeqIO task or mixture as a benchmark: its examples, its own metrics.

Each task of a mixture stands where a benchmark has a language. Inputs and targets are the ids that
the task gives, so preprocessors that work on ids (span corruption) are kept; the metrics are the
task's own functions over its own postprocessor, unless others are chosen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import seqio

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part
from nmt5.evaluation.benchmarks.own_files import named_metrics
from nmt5.evaluation.token_examples import TokenExample


def registered_names() -> list[str]:
    """Returns the names of all registered tasks and mixtures."""
    return [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]


def seqio_benchmark(
    name: str,
    *,
    metrics: Sequence[str] = (),
    labels: Sequence[str] = (),
    language: str = "en",
    scored: bool = True,
) -> Benchmark:
    """Returns a registered task or mixture as a benchmark.

    Args:
      name: of a task or mixture, registered already.
      metrics: names instead of the task's own metrics.
      labels: of metric "class_accuracy".
      language: of the answers, for `metrics`.
      scored: whether there will be scores.

    Raises:
      ConfigError: nothing is registered so, or it has no metric, none is chosen and scores are due.
    """
    if name not in registered_names():
        raise ConfigError(unknown_name("SeqIO task or mixture", name, registered_names()))
    tasks = {task.name: task for task in seqio.get_subtasks(seqio.get_mixture_or_task(name))}
    counted, textual = named_metrics(metrics, labels=labels) if metrics else ((), ())
    if scored and not metrics and not any(one.predict_metric_fns for one in tasks.values()):
        raise ConfigError(
            f"{name}: the task has no metric that compares texts; choose TaskConfig.metrics"
        )

    def own_scores(examples: Sequence[Any], predictions: Sequence[str]) -> dict[str, float]:
        targets, outputs = postprocessed(examples, predictions)
        found: dict[str, float] = {}
        for metric in tasks[examples[0].task].predict_metric_fns:
            found |= {key: float(value) for key, value in metric(targets, outputs).items()}
        return found

    splits = {split for task in tasks.values() for split in task.splits}
    return Benchmark(
        name=name,
        languages=tuple(tasks),
        splits={split: () for split in ("train", "validation", "test") if split in splits},
        to_text=lambda example: example,
        metrics=counted,
        text_metrics=textual,
        train_languages=tuple(task.name for task in tasks.values() if "train" in task.splits),
        validation_languages=tuple(
            task.name for task in tasks.values() if "validation" in task.splits
        ),
        answer_language=lambda task: language,
        own_scores=None if metrics else own_scores,
        note="scores are those of the SeqIO task",
    )


def postprocessed(
    examples: Sequence[TokenExample], outputs: Sequence[str]
) -> tuple[list[Any], list[Any]]:
    """Returns targets and outputs as the metrics of the examples' task compare them."""
    task = seqio.get_mixture_or_task(examples[0].task)
    # As SeqIO's evaluator: what the ids say, which normalisation may make another text.
    decode = task.output_features["targets"].vocabulary.decode
    targets = [
        task.postprocess_fn(decode(list(one.target_ids)), example=one.fields, is_target=True)
        for one in examples
    ]
    predictions = [
        task.postprocess_fn(text, example=one.fields, is_target=False)
        for one, text in zip(examples, outputs, strict=True)
    ]
    return targets, predictions


def seqio_examples(part: Part, vocabulary: Vocabulary) -> Iterator[TokenExample]:
    """Yields the examples of a task's split in its order.

    Args:
      part: `language` is the task's name.
      vocabulary: shows ids as text where the task keeps none.

    Raises:
      DataError: the task lacks the split, or has another vocabulary.
    """
    task = seqio.get_mixture_or_task(part.language)
    if part.split not in task.splits:
        raise DataError(f"{part.language}: {unknown_name('split', part.split, task.splits)}")
    theirs = task.output_features["targets"].vocabulary.vocab_size
    ours = vocabulary.token_ids.size
    if theirs != ours:
        raise DataError(
            f"{part.language}: the task's vocabulary has {theirs} ids, Workspace.vocabulary "
            f"{ours}; use the same one for both"
        )
    eos = vocabulary.token_ids.eos
    # Lengths are the caller's business: without them SeqIO cuts nothing.
    dataset = task.get_dataset(sequence_length=None, split=part.split, shuffle=False)
    for number, row in enumerate(dataset.as_numpy_iterator()):
        ids = {
            side: tuple(int(token) for token in row[side] if token != eos)
            for side in ("inputs", "targets")
        }
        texts = {side: _text(row, side, ids[side], vocabulary) for side in ids}
        yield TokenExample(
            id=str(number),
            inputs=texts["inputs"],
            targets=texts["targets"],
            references=(texts["targets"],),
            input_ids=ids["inputs"],
            target_ids=ids["targets"],
            task=part.language,
            fields=row,
        )


def _text(row: Mapping[str, Any], side: str, ids: Sequence[int], vocabulary: Vocabulary) -> str:
    kept = row.get(f"{side}_pretokenized")
    if isinstance(kept, bytes):
        return kept.decode("utf-8")
    return vocabulary.decode(ids)
