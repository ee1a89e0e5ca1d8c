"""Anybody's files as a benchmark: columns of inputs and targets, or a format of the benchmarks.

The name of a file does not matter, but for its ending: `.jsonl` is JSON lines, and `.csv` is
tab-separated with cells in quotation marks, as spreadsheet programs write it. `.gz` may follow.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.benchmarks.benchmark import SPLITS, Benchmark, Files
from nmt5.evaluation.benchmarks.column_files import labels_of, read_columns
from nmt5.evaluation.benchmarks.parse_files import read_mtop
from nmt5.evaluation.benchmarks.question_files import read_squad
from nmt5.evaluation.benchmarks.records import Record, SentencePair
from nmt5.evaluation.benchmarks.sentence_pair_files import read_inference, read_paraphrases
from nmt5.evaluation.benchmarks.tagged_files import (
    UPOS_TAGS,
    read_conllu,
    read_entities,
    read_word_tags,
)
from nmt5.evaluation.scores.by_name import CLASS_ACCURACY, METRIC_NAMES, find_metric
from nmt5.evaluation.scores.counted import CountedMetric
from nmt5.evaluation.scores.entities import ENTITIES_MT5, entities
from nmt5.evaluation.scores.labels import PARSE_MATCH, class_accuracy, tag_accuracy
from nmt5.evaluation.scores.question_answering import QUESTION_TOKENS, SQUAD
from nmt5.evaluation.text_metrics import METRICS
from nmt5.evaluation.text_to_answer.entity_text import entity_text
from nmt5.evaluation.text_to_answer.free_text import parse_text
from nmt5.evaluation.text_to_answer.label_text import (
    INFERENCE_LABELS,
    PARAPHRASE_LABELS,
    inference_text,
    paraphrase_text,
)
from nmt5.evaluation.text_to_answer.question_text import question_text
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.text_to_answer.word_tag_text import word_tag_text

COLUMNS = "columns"


@dataclasses.dataclass(frozen=True)
class _Format:
    """What reads a file, how its records are written as text, how outputs are scored."""

    reader: Callable[..., Iterator[Record]]
    to_text: Callable[[Any], TextExample]
    metrics: tuple[CountedMetric, ...]


def _read_inference(path: str, *, dropped: Counter[str]) -> Iterator[SentencePair]:
    quoted = str(path).removesuffix(".gz").endswith(".csv")
    yield from read_inference(path, quoted=quoted, dropped=dropped)


_FORMATS: Mapping[str, _Format] = {
    "inference": _Format(_read_inference, inference_text, (class_accuracy(INFERENCE_LABELS),)),
    "paraphrase": _Format(read_paraphrases, paraphrase_text, (class_accuracy(PARAPHRASE_LABELS),)),
    "entities": _Format(
        functools.partial(read_entities, types=None), entity_text, (entities(None), ENTITIES_MT5)
    ),
    "conllu": _Format(read_conllu, word_tag_text, (tag_accuracy(UPOS_TAGS),)),
    "word_tags": _Format(read_word_tags, word_tag_text, (tag_accuracy(UPOS_TAGS),)),
    "squad": _Format(read_squad, question_text, (SQUAD, QUESTION_TOKENS)),
    "mtop": _Format(read_mtop, parse_text, (PARSE_MATCH,)),
}
FORMATS = (COLUMNS, *_FORMATS)


def own_benchmark(
    name: str,
    *,
    files: Mapping[str, os.PathLike | str],
    format: str = COLUMNS,
    columns: tuple[str, str] = ("inputs", "targets"),
    metrics: Sequence[str] = (),
    labels: Sequence[str] = (),
    language: str = "en",
    inputs_tokens: int = 1024,
    targets_tokens: int = 512,
) -> Benchmark:
    """Returns a benchmark of one's own files.

    Args:
      name: of the benchmark.
      files: file by split, of train, validation and test.
      format: one of `FORMATS`; all but "columns" are those of benchmarks (`docs/usage`).
      columns: names of the column of inputs and that of targets, for "columns".
      metrics: names of `nmt5.evaluation.scores.by_name` or `nmt5.evaluation.text_metrics`; the
        first one chooses the checkpoint. () takes the format's, for "columns" exact match, or class
        accuracy if there are labels.
      labels: of "class_accuracy", the only targets that are allowed in "columns"; () takes those of
        the training file.
      language: of the answers.
      inputs_tokens: length that inputs are cut to.
      targets_tokens: length that targets are cut to.

    Raises:
      ConfigError: an unknown split, format, metric or kind of file, no file, or labels that no file
        gives.
      DataError: the training file, from which labels are taken, cannot be read.
    """
    if not files:
        raise ConfigError(f"task '{name}': no file; give {{'train': 'a.tsv', 'test': 'b.tsv'}}")
    for split in files:
        if split not in SPLITS:
            raise ConfigError(f"task '{name}': {unknown_name('split', split, SPLITS)}")
    paths = {split: os.path.abspath(path) for split, path in files.items()}
    if format == COLUMNS:
        metrics = metrics or ((CLASS_ACCURACY,) if labels else ("exact_match",))
        for path in paths.values():
            if not path.removesuffix(".gz").endswith((".tsv", ".jsonl")):
                raise ConfigError(
                    f"task '{name}': {path}: expected a file that ends in .tsv or .jsonl; files of "
                    f"other kinds need TaskConfig.format, one of {list(_FORMATS)}"
                )
        if CLASS_ACCURACY in metrics and not labels and "train" in paths:
            labels = labels_of(paths["train"], columns=tuple(columns))
        reader = functools.partial(read_columns, columns=tuple(columns), labels=tuple(labels))
        chosen = _Format(reader, lambda example: example, ())
    elif format in _FORMATS:
        chosen = _FORMATS[format]
    else:
        raise ConfigError(f"task '{name}': {unknown_name('format', format, FORMATS)}")
    counted, textual = named_metrics(metrics, labels=labels) if metrics else (chosen.metrics, ())
    return Benchmark(
        name=name,
        languages=(language,),
        splits={
            split: (Files(names=(_literal(path),), reader=chosen.reader),)
            for split, path in paths.items()
        },
        to_text=chosen.to_text,
        metrics=counted,
        text_metrics=textual,
        inputs_tokens=inputs_tokens,
        targets_tokens=targets_tokens,
        train_languages=(language,) if "train" in files else (),
    )


def named_metrics(
    names: Sequence[str], *, labels: Sequence[str] = ()
) -> tuple[tuple[CountedMetric, ...], tuple[str, ...]]:
    """Returns metrics by name, those with counts per example and those of texts.

    Args:
      names: of the metrics.
      labels: of "class_accuracy".

    Raises:
      ConfigError: none, an unknown name, "class_accuracy" without labels, or the first of the names
        is a text metric while a later one is not: the main score would be another one than asked
        for.
    """
    known = [*METRIC_NAMES, *METRICS]
    for name in names:
        if name not in known:
            raise ConfigError(f"evaluation: {unknown_name('metric', name, known)}")
    if not names:
        raise ConfigError(f"evaluation: no metric; choose of {known}")
    counted = tuple(find_metric(name, labels=labels) for name in names if name in METRIC_NAMES)
    textual = tuple(name for name in names if name in METRICS)
    if counted and names[0] in METRICS:
        raise ConfigError(
            f"evaluation: metrics {list(names)}: the first one is the main score; name "
            f"{[one.name for one in counted]} before {list(textual)}, or choose one kind"
        )
    return counted, textual


def _literal(path: str) -> str:
    """Returns a pattern of `Files` that is this path, braces and all."""
    return path.replace("{", "{{").replace("}", "}}")
