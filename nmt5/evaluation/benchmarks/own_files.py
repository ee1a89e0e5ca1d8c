"""Anybody's task as a benchmark: TSV or JSON lines with a column of inputs and one of targets.

    a.tsv     the first line names the columns: `inputs<TAB>targets`
    a.jsonl   {"inputs": "...", "targets": "..."} per line; targets may be a list of right answers

Both may be compressed with gzip.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
import functools
import os
from typing import Any

from etils import epath

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.benchmarks.benchmark import SPLITS, Benchmark, Files
from nmt5.evaluation.benchmarks.located_lines import Place, read_json_lines, read_table, text_of
from nmt5.evaluation.scores.by_name import COUNTED_METRICS, find_metric
from nmt5.evaluation.scores.counted import CountedMetric
from nmt5.evaluation.text_metrics import METRICS
from nmt5.evaluation.text_to_answer.text_example import TextExample


def own_benchmark(
    name: str,
    *,
    files: Mapping[str, os.PathLike | str],
    columns: tuple[str, str] = ("inputs", "targets"),
    metrics: Sequence[str] = ("exact_match",),
    language: str = "en",
    inputs_tokens: int = 1024,
    targets_tokens: int = 512,
) -> Benchmark:
    """Returns a benchmark of one's own files.

    Args:
      name: of the benchmark.
      files: file by split, of train, validation and test.
      columns: names of the column of inputs and that of targets.
      metrics: names of `nmt5.evaluation.scores.by_name` or `nmt5.evaluation.text_metrics`; the
        first one chooses the checkpoint.
      language: of the answers.
      inputs_tokens: length that inputs are cut to.
      targets_tokens: length that targets are cut to.

    Raises:
      ConfigError: an unknown split, metric or kind of file, or no file.
    """
    counted, textual = named_metrics(metrics)
    if not files:
        raise ConfigError(f"task '{name}': no file; give {{'train': 'a.tsv', 'test': 'b.tsv'}}")
    splits = {}
    for split, path in files.items():
        if split not in SPLITS:
            raise ConfigError(f"task '{name}': {unknown_name('split', split, SPLITS)}")
        reader = functools.partial(_reader(os.fspath(path), name), columns=tuple(columns))
        splits[split] = (Files(names=(os.path.abspath(path),), reader=reader),)
    return Benchmark(
        name=name,
        languages=(language,),
        splits=splits,
        to_text=lambda example: example,
        metrics=counted,
        text_metrics=textual,
        inputs_tokens=inputs_tokens,
        targets_tokens=targets_tokens,
        train_languages=(language,) if "train" in splits else (),
    )


def named_metrics(
    names: Sequence[str],
) -> tuple[tuple[CountedMetric, ...], tuple[str, ...]]:
    """Returns metrics by name, those with counts per example and those of texts.

    Raises:
      ConfigError: none, an unknown name, or the first of the names is a text metric while a later
        one is not: the main score would be another one than asked for.
    """
    known = [*COUNTED_METRICS, *METRICS]
    for name in names:
        if name not in known:
            raise ConfigError(f"evaluation: {unknown_name('metric', name, known)}")
    if not names:
        raise ConfigError(f"evaluation: no metric; choose of {known}")
    counted = tuple(find_metric(name) for name in names if name in COUNTED_METRICS)
    textual = tuple(name for name in names if name in METRICS)
    if counted and names[0] in METRICS:
        raise ConfigError(
            f"evaluation: metrics {list(names)}: the first one is the main score; name "
            f"{[one.name for one in counted]} before {list(textual)}, or choose one kind"
        )
    return counted, textual


def read_tsv(
    path: epath.PathLike, *, columns: tuple[str, str], dropped: Counter[str]
) -> Iterator[TextExample]:
    """Yields the examples of a TSV file; every reader is called alike.

    Raises:
      DataError: a column is missing, or a line has other columns; names file and line.
    """
    del dropped
    inputs, targets = columns
    for number, (row, _) in enumerate(read_table(path, required=columns)):
        text = row[targets]
        yield TextExample(id=str(number), inputs=row[inputs], targets=text, references=(text,))


def read_jsonl(
    path: epath.PathLike, *, columns: tuple[str, str], dropped: Counter[str]
) -> Iterator[TextExample]:
    """Yields the examples of a JSON-lines file.

    Raises:
      DataError: a line that is cut off, lacks a key or has other than text in it; names file and
        line.
    """
    del dropped
    inputs, targets = columns
    for number, (row, place) in enumerate(read_json_lines(path, required=columns)):
        references = _texts(row[targets], targets, place)
        yield TextExample(
            id=str(number),
            inputs=text_of(row, inputs, place),
            targets=references[0],
            references=references,
        )


def _texts(value: Any, key: str, place: Place) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise place.error(f"{key} is {value!r}, expected text or a list of texts")
    return tuple(texts)


def _reader(path: str, name: str) -> Any:
    bare = path.removesuffix(".gz")
    for ending, reader in ((".tsv", read_tsv), (".jsonl", read_jsonl)):
        if bare.endswith(ending):
            return reader
    raise ConfigError(f"task '{name}': {path}: expected a file that ends in .tsv or .jsonl")
