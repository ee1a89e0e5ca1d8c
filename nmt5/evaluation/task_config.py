"""Which task is fine-tuned on or evaluated, as settings: a benchmark, a SeqIO task, own files."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import itertools
import logging
import os
from typing import Any

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part, read_examples
from nmt5.evaluation.benchmarks.directories import BENCHMARKS_VARIABLE, find_directory
from nmt5.evaluation.benchmarks.own_files import named_metrics, own_benchmark
from nmt5.evaluation.benchmarks.regimes import take
from nmt5.evaluation.benchmarks.table import BENCHMARKS, add
from nmt5.evaluation.benchmarks.task_names import find_evaluated, find_mixture
from nmt5.evaluation.benchmarks.translation_table import moses_benchmark
from nmt5.evaluation.text_to_answer.text_example import TextExample

PartReader = Callable[[Part], Iterator[TextExample]]

_log = logging.getLogger(__name__)
# Why a reader leaves something out of a file that holds more than was asked for: no loss.
_ASKED_FOR = {"other language"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A task, and where its text is.

    Attributes:
      name: a benchmark of `nmt5.evaluation.benchmarks.table`, one of its SeqIO tasks or mixtures
        (`xnli_eval.de`, `xnli_zeroshot`), any other registered SeqIO task or mixture, or with
        `files` any other name.
      files: own TSV or JSON-lines file by split, `{'train': 'a.tsv', 'test': 'b.jsonl'}`; with
        `pairs` two line-aligned files, `{'test': 'talks.{low}-{high}.{side}'}`.
      pairs: (source, target) codes of the languages that are translated, for `files`.
      format: of `files`: "columns", or another of `own_files.FORMATS` ("inference", "entities",
        "conllu", ...).
      columns: names of the column of inputs and that of targets in `files`.
      metrics: names of metrics; () takes the task's own, or those of the format of `files`.
      labels: all classes, for metric "class_accuracy"; () takes those of one's own training file.
      language: of the answers in `files` or in a SeqIO task; the language of "in_language".
      data: directory in which each benchmark has a directory of its name; "" takes the environment
        variable NMT5_BENCHMARKS.
      directories: directory of a benchmark's files by its name, before `data`.
      tfds_data_dir: where TFDS keeps its data; a benchmark without directory comes from there.
      inputs_tokens: length that inputs are cut to, instead of the task's own (1,024 for `files` and
        SeqIO tasks).
      targets_tokens: length of targets and outputs instead of the task's own (512).
    """

    name: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    format: str = "columns"
    columns: tuple[str, str] = ("inputs", "targets")
    metrics: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    language: str | None = None
    data: str = ""
    directories: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tfds_data_dir: str | None = None
    inputs_tokens: int | None = None
    targets_tokens: int | None = None

    def __post_init__(self):
        for field in ("metrics", "labels"):
            if isinstance(getattr(self, field), str):
                object.__setattr__(self, field, (getattr(self, field),))
        for field in ("files", "directories"):
            if not isinstance(getattr(self, field), Mapping):
                raise ConfigError(
                    f"TaskConfig.{field} is {getattr(self, field)!r}; give {{'name': 'path', ...}}"
                )
        if len(self.columns) != 2:
            raise ConfigError(
                f"TaskConfig.columns is {self.columns!r}; give the names of two columns"
            )
        for field in ("inputs_tokens", "targets_tokens"):
            if getattr(self, field) is not None and getattr(self, field) < 2:
                raise ConfigError(f"TaskConfig.{field} is {getattr(self, field)}, expected 2+")


def resolve_task(
    config: TaskConfig, *, register: Callable[[], None], scored: bool = True
) -> Benchmark:
    """Finds a task, and makes one that is in no table known to `table.benchmark`.

    Args:
      config: the settings.
      register: imports the modules that register SeqIO tasks; called only if the name is none of a
        benchmark, since it takes seconds.
      scored: whether there will be scores; else a SeqIO task needs no metric.

    Raises:
      ConfigError: no task is called so, or a metric, file or split does not fit.
    """
    if config.pairs:
        return add(_own_translation(config))
    if config.files:
        return add(
            own_benchmark(
                config.name or "own",
                files=config.files,
                format=config.format,
                columns=config.columns,
                metrics=config.metrics,
                labels=config.labels,
                language=config.language or "en",
                inputs_tokens=config.inputs_tokens or 1024,
                targets_tokens=config.targets_tokens or 512,
            )
        )
    if (row := _of_the_table(config.name)) is not None:
        if config.metrics:
            raise ConfigError(
                f"TaskConfig.metrics: benchmark '{row.name}' has its own; leave them out"
            )
        return row
    if not config.name:
        raise ConfigError(
            "TaskConfig.name must be set: a benchmark, a SeqIO task or mixture; or "
            "TaskConfig.files for own files"
        )
    register()
    from nmt5.evaluation.benchmarks.seqio_tasks import registered_names, seqio_benchmark

    known = registered_names()
    if config.name not in known:
        raise ConfigError(
            "TaskConfig.name: "
            + unknown_name("benchmark or SeqIO task", config.name, [*BENCHMARKS, *known])
        )
    found = seqio_benchmark(
        config.name,
        metrics=config.metrics,
        labels=config.labels,
        language=config.language or "en",
        scored=scored,
    )
    return add(
        dataclasses.replace(
            found,
            inputs_tokens=config.inputs_tokens or 1024,
            targets_tokens=config.targets_tokens or 512,
        )
    )


def _of_the_table(name: str) -> Benchmark | None:
    """Returns the benchmark of a name, of a SeqIO mixture of it, or in the language of a task."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    if (mixture := find_mixture(name)) is not None:
        row = BENCHMARKS[mixture.benchmark]
        return row.only(mixture.language) if mixture.language else row
    found = find_evaluated(name)
    return None if found is None else found[0].only(found[1])


def _own_translation(config: TaskConfig) -> Benchmark:
    name = config.name or "own"
    if not config.files:
        raise ConfigError("TaskConfig.pairs: name the line-aligned files as TaskConfig.files")
    if config.format != "columns":
        raise ConfigError(
            f"TaskConfig.format is '{config.format}', but TaskConfig.pairs are for line-aligned "
            "files; leave one of them out"
        )
    counted, textual = named_metrics(config.metrics or ("chrf++", "bleu"))
    return moses_benchmark(
        name,
        pairs=config.pairs,
        files={split: os.path.abspath(path) for split, path in config.files.items()},
        metrics=counted,
        text_metrics=textual,
    )


def part_reader(config: TaskConfig, *, vocabulary: Vocabulary) -> PartReader:
    """Returns what reads the examples of a part, from wherever the settings say.

    Args:
      config: the settings; parts may be of other benchmarks too (SQuAD for XQuAD).
      vocabulary: for SeqIO tasks.
    """

    def read(part: Part) -> Iterator[TextExample]:
        from nmt5.evaluation.benchmarks.table import benchmark

        row = benchmark(part.benchmark)
        row.check(language=part.language, split=part.split)
        if part.benchmark not in BENCHMARKS and not config.files:
            from nmt5.evaluation.benchmarks.seqio_tasks import seqio_examples

            found: Iterator[TextExample] = seqio_examples(part, vocabulary)
        elif config.files or (directory := directory_of(config, part.benchmark)):
            where = "" if config.files else directory
            dropped: Counter[str] = Counter()
            found = read_examples(
                row, where, language=part.language, split=part.split, dropped=dropped
            )
            found = _say_what_was_left_out(found, dropped, part=part)
        elif row.tfds is not None:
            from nmt5.evaluation.benchmarks.registration import tfds_examples

            found = tfds_examples(row, part, data_dir=config.tfds_data_dir)
        else:
            raise ConfigError(
                f"{part.benchmark}: TFDS does not have it; set TaskConfig.data (or "
                f"{BENCHMARKS_VARIABLE}) to the directory that has its original files in "
                f"'{part.benchmark}', or TaskConfig.directories={{'{part.benchmark}': '...'}}"
            )
        return take(found, part=part)

    return read


def _say_what_was_left_out(
    examples: Iterable[TextExample], dropped: Counter[str], *, part: Part
) -> Iterator[TextExample]:
    yield from examples
    counts = [f"{number:,} {why}" for why, number in dropped.items() if why not in _ASKED_FOR]
    if counts:
        _log.warning(
            "%s, language '%s', split '%s': left out or changed: %s",
            part.benchmark,
            part.language,
            part.split,
            ", ".join(counts),
        )


def first_examples(read: PartReader, part: Part, *, limit: int | None) -> list[Any]:
    """Returns the examples of a part, or its first ones.

    Raises:
      DataError: there is none.
    """
    found = list(itertools.islice(read(part), limit))
    if not found:
        raise DataError(
            f"{part.benchmark}: language '{part.language}', split '{part.split}': no examples; "
            "the split is empty"
        )
    return found


def directory_of(config: TaskConfig, name: str) -> str:
    """Returns the directory of a benchmark's files that the settings name, or ""."""
    if name in config.directories:
        return config.directories[name]
    return find_directory(name, root=config.data)
