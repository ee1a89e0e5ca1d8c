"""SeqIO tasks and mixtures of the benchmarks, from their original files or from TFDS.

`nmt5.evaluation.benchmarks.task_names` says how they are called. Training and evaluation are tasks
of their own because a mixture takes from every member the split that it is asked for: one task with
all splits would train a zero-shot mixture on every language that has training data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

import seqio
import tensorflow as tf

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.registry import feature
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part, read_examples
from nmt5.evaluation.benchmarks.directories import BENCHMARKS_VARIABLE, find_directory
from nmt5.evaluation.benchmarks.records import Record
from nmt5.evaluation.benchmarks.regimes import take
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
from nmt5.evaluation.benchmarks.task_names import (
    FEW_SEEDS,
    HELD_OUT_SELECTION,
    eval_task_name,
    find_evaluated,
    setting_mixtures,
    train_task_name,
)
from nmt5.evaluation.scores.counted import score
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.text_metrics import score_texts
from nmt5.evaluation.text_to_answer.text_example import TextExample

_SIGNATURE = {
    "id": tf.TensorSpec((), tf.string),
    "inputs": tf.TensorSpec((), tf.string),
    "targets": tf.TensorSpec((), tf.string),
    "references": tf.TensorSpec((None,), tf.string),
}


class BenchmarkSource(seqio.DataSource):
    """A benchmark's examples in one language as SeqIO sees them; files are read on first use."""

    def __init__(self, benchmark: Benchmark, *, splits: Mapping[str, Part]):
        super().__init__(splits=tuple(splits), caching_permitted=True)
        self.benchmark = benchmark
        self.parts = dict(splits)
        self.directory: str | None = None
        self.tfds_data_dir: str | None = None

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """A split is one shard; SeqIO shards its examples where it needs to."""
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns the split as its only shard."""
        return [split]

    def examples(self, split: str) -> Iterator[TextExample]:
        """Yields the examples of a split.

        They come from the directory that `add_benchmark` was told, else from the one below
        NMT5_BENCHMARKS, else from TFDS.

        Raises:
          DataError: as the reader, a TFDS split without any example of the language, or no
            directory of a benchmark that TFDS does not have.
        """
        part = self.parts[split]
        name = self.benchmark.name
        directory = self.directory or find_directory(name)
        if directory:
            found = read_examples(
                self.benchmark, directory, language=part.language, split=part.split
            )
        elif self.benchmark.tfds is not None:
            found = tfds_examples(self.benchmark, part, data_dir=self.tfds_data_dir)
        else:
            raise DataError(
                f"{name}: TFDS does not have it, and there is no directory of its original files: "
                f"set the environment variable {BENCHMARKS_VARIABLE} to the one that has it as "
                f"'{name}', or name it as add_benchmark(directories={{'{name}': '...'}})"
            )
        yield from take(found, part=part)

    def get_dataset(
        self, split="train", shuffle=True, seed=None, shard_info=None, **unused
    ) -> tf.data.Dataset:
        """Returns `id`, `inputs`, `targets` and `references`, in the files' order."""
        del shuffle, seed, unused  # one shard has no order of shards to draw
        if shard_info and shard_info.num_shards > 1:
            raise ValueError(f"{self.benchmark.name} has one shard a split; found {shard_info}")

        def rows():
            for one in self.examples(split):
                row = {"id": one.id, "inputs": one.inputs, "targets": one.targets}
                yield row | {"references": list(one.references)}

        return tf.data.Dataset.from_generator(rows, output_signature=_SIGNATURE)


def tfds_examples(
    benchmark: Benchmark, part: Part, *, data_dir: str | None = None
) -> Iterator[TextExample]:
    """Yields the examples of a part from TFDS.

    Args:
      benchmark: one that has a TFDS form.
      part: its language and split.
      data_dir: where TFDS keeps its data; None for its own setting.

    Raises:
      DataError: TFDS lacks the language or split, or no row was of the language.
    """
    form = benchmark.tfds
    benchmark.check(language=part.language, split=part.split)
    has_language = not form.languages or part.language in form.languages
    if part.split not in form.splits or not has_language:
        raise DataError(
            f"{benchmark.name}: TFDS has no language '{part.language}' in split '{part.split}'; "
            "give the directory of the original files"
        )
    read = TfdsRecords(benchmark.name, part.split, data_dir)
    if form.choose is None:
        found = read(part.language)
    else:
        found = form.choose(read, part.language, part.split)
    empty = True
    for record in found:
        empty = False
        yield benchmark.to_text(record)
    if empty:
        raise DataError(f"{read.where(part.language)}: no example in '{part.language}'")


@dataclasses.dataclass(frozen=True)
class TfdsRecords:
    """Language -> the records of what TFDS has for a benchmark's split; hashable, for caches."""

    benchmark: str
    split: str
    data_dir: str | None

    def __call__(self, language: str) -> Iterator[Record]:
        """Yields the records of a language."""
        import tensorflow_datasets as tfds

        name, split = self._name_and_split(language)
        rows = tfds.as_numpy(tfds.load(name, split=split, data_dir=self.data_dir))
        for number, row in enumerate(rows):
            record = find_benchmark(self.benchmark).tfds.record(row, str(number), language)
            if record is not None:
                yield record

    def where(self, language: str) -> str:
        """Returns what is read, for messages."""
        name, split = self._name_and_split(language)
        return f"{self.benchmark}: TFDS {name}, split {split}"

    def _name_and_split(self, language: str) -> tuple[str, str]:
        row = find_benchmark(self.benchmark)
        patterns = (
            row.tfds.other_names.get(self.split, row.tfds.name),
            row.tfds.splits[self.split],
        )
        name, split = (row.fill(one, language=language, split=self.split) for one in patterns)
        return name, split


def add_benchmarks() -> tuple[str, ...]:
    """Registers all of the table; returns the names as `add_benchmark`.

    Nothing is looked for or read before examples are asked for.
    """
    return tuple(mixture for name in BENCHMARKS for mixture in add_benchmark(name))


def add_benchmark(
    name: str,
    *,
    directories: Mapping[str, os.PathLike | str] | None = None,
    tfds_data_dir: str | None = None,
    vocabulary: os.PathLike | str | None = None,
    few_seeds: Sequence[int] = FEW_SEEDS,
) -> tuple[str, ...]:
    """Registers a benchmark's tasks, and a mixture for each of its settings.

    What is registered already stays, and is told the directories that are named.

    Args:
      name: of the benchmark.
      directories: by benchmark, where its original files are; the others come from below
        NMT5_BENCHMARKS, or from TFDS. Settings that train on another benchmark (SQuAD) need it too.
      tfds_data_dir: where TFDS keeps its data.
      vocabulary: path of a vocabulary; None follows `nmt5.data.registry.configure`.
      few_seeds: seeds of the few-shot mixtures `<name>_few_shot_seed<s>`.

    Returns:
      The names of the mixtures, or of the evaluation tasks if the benchmark has no setting.

    Raises:
      ConfigError: an unknown benchmark, or one that is registered with another vocabulary.
    """
    row = find_benchmark(name)
    task = functools.partial(
        _task,
        directories={key: os.fspath(path) for key, path in (directories or {}).items()},
        tfds_data_dir=tfds_data_dir,
        vocabulary=vocabulary,
    )
    evaluated = [
        _add_evaluated(row, language, task)
        for language in row.languages
        if _eval_parts(row, language)
    ]
    mixtures = []
    for mixture in setting_mixtures(row, few_seeds=few_seeds):
        chosen = mixture.plan()
        trained = [{"train": part} for part in chosen.train]
        if mixture.selection == HELD_OUT_SELECTION:
            (trained[0]["validation"],) = chosen.selection
        members = [task(train_task_name(parts["train"]), splits=parts) for parts in trained]
        others = () if mixture.selection == HELD_OUT_SELECTION else chosen.selection
        for part in (*chosen.test, *others):
            members.append(_add_evaluated(find_benchmark(part.benchmark), part.language, task))
        if mixture.name not in seqio.MixtureRegistry.names():
            members = list(dict.fromkeys(members))
            seqio.MixtureRegistry.add(mixture.name, members, default_rate=1.0)
        mixtures.append(mixture.name)
    return tuple(mixtures or evaluated)


def find_registered(name: str) -> str:
    """Returns the name of a registered task or mixture; registers a further pair of a benchmark.

    NTREX and FLORES have more pairs of languages than `add_benchmarks` registers.

    Raises:
      ConfigError: nothing is called so; the message has the nearest names.
    """
    known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
    if name not in known:
        if (found := find_evaluated(name)) is None:
            raise ConfigError(unknown_name("SeqIO task or mixture", name, known))
        settings = {"directories": {}, "tfds_data_dir": None, "vocabulary": None}
        _add_evaluated(*found, functools.partial(_task, **settings))
    return name


def _add_evaluated(row: Benchmark, language: str, task: Callable[..., str]) -> str:
    return task(eval_task_name(row.name, language), splits=_eval_parts(row, language))


def _eval_parts(row: Benchmark, language: str) -> dict[str, Part]:
    """Returns the parts of a language that evaluate; none if the benchmark only trains."""
    has = {"validation": row.validates(language), "test": "test" in row.splits}
    return {
        split: Part(benchmark=row.name, language=language, split=split)
        for split in has
        if has[split]
    }


def _task(
    name: str,
    *,
    splits: Mapping[str, Part],
    directories: Mapping[str, str],
    tfds_data_dir: str | None,
    vocabulary: os.PathLike | str | None,
) -> str:
    part = next(iter(splits.values()))
    if name not in seqio.TaskRegistry.names():
        _register(name, splits, vocabulary)
    task = seqio.TaskRegistry.get(name)
    if vocabulary is not None and task.output_features["inputs"] != feature(vocabulary):
        raise ConfigError(
            f"task '{name}': it is registered already with another vocabulary; set it for the "
            "whole process instead, with NMT5_VOCABULARY or nmt5.data.registry.configure"
        )
    task.source.directory = directories.get(part.benchmark) or task.source.directory
    task.source.tfds_data_dir = tfds_data_dir or task.source.tfds_data_dir
    return name


def _register(name: str, splits: Mapping[str, Part], vocabulary: os.PathLike | str | None) -> None:
    part = next(iter(splits.values()))
    row = find_benchmark(part.benchmark)
    seqio.TaskRegistry.add(
        name,
        source=BenchmarkSource(row, splits=splits),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={"inputs": feature(vocabulary), "targets": feature(vocabulary)},
        postprocess_fn=_references_or_text,
        metric_fns=_metric_fns(row, part.language),
    )


def _references_or_text(
    text: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> str | list[str]:
    """SeqIO's postprocessor: of a target all references, of an output the text itself."""
    if not is_target:
        return text
    return [reference.decode("utf-8") for reference in example["references"]]


def _metric_fns(benchmark: Benchmark, language: str) -> list[Any]:
    answers_in = benchmark.answer_language(language)

    def counted(metric):
        def scores(targets, predictions):
            settings = {"references": targets, "language": answers_in, "num_draws": 0}
            found = score(metric, predictions, **settings)
            return {name: one.value for name, one in found.items()}

        return scores

    def textual(metric):
        def scores(targets, predictions):
            settings = {"metric": metric, "language": answers_in, "num_draws": 0}
            found = score_texts(predictions, references=targets, **settings)
            return {metric: found.interval.value}

        return scores

    return [
        *(textual(name) for name in benchmark.text_metrics),
        *(counted(metric) for metric in (*benchmark.metrics, OUTPUT_FAULTS)),
    ]
