"""SeqIO tasks and mixtures of the benchmarks, from their original files or from TFDS.

    <benchmark>_train.<language>            split train
    <benchmark>_translate_train.<language>  split train: translated examples
    <benchmark>_few<n>_seed<s>.<language>   split train: n seeded examples
    <benchmark>_train_without<n>.<language> split train without n examples, which are validation
    <benchmark>_eval.<language>             splits validation and test, as far as there are
    <benchmark>_<setting>                   mixture of the tasks of a setting, all at rate 1
    <benchmark>_zeroshot_held_out           the same, checkpoint chosen on held-out English training
                                            examples, where no split but test is left

A `-` in a language's code becomes `_`. Training and evaluation are tasks of their own because a
mixture takes from every member the split that it is asked for: one task with all splits would train
a zero-shot mixture on every language that has training data.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

import seqio
import tensorflow as tf

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.registry import feature
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part, read_examples
from nmt5.evaluation.benchmarks.records import Record
from nmt5.evaluation.benchmarks.regimes import plan, settings_of, take
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
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

    def __init__(
        self,
        benchmark: Benchmark,
        *,
        splits: Mapping[str, Part],
        directory: str | None,
        tfds_data_dir: str | None,
    ):
        super().__init__(splits=tuple(splits), caching_permitted=True)
        self.benchmark = benchmark
        self.parts = dict(splits)
        self.directory = directory
        self.tfds_data_dir = tfds_data_dir

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """A split is one shard; SeqIO shards its examples where it needs to."""
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns the split as its only shard."""
        return [split]

    def examples(self, split: str) -> Iterator[TextExample]:
        """Yields the examples of a split.

        Raises:
          DataError: as the reader, or a TFDS split without any example of the language.
        """
        part = self.parts[split]
        if self.directory is not None:
            found = read_examples(
                self.benchmark, self.directory, language=part.language, split=part.split
            )
        else:
            found = tfds_examples(self.benchmark, part, data_dir=self.tfds_data_dir)
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


def add_benchmark(
    name: str,
    *,
    directories: Mapping[str, os.PathLike | str] | None = None,
    tfds_data_dir: str | None = None,
    vocabulary: os.PathLike | str | None = None,
    few_seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> tuple[str, ...]:
    """Registers a benchmark's tasks, and a mixture for each of its settings.

    Args:
      name: of the benchmark.
      directories: by benchmark, where its original files are; the others come from TFDS. Settings
        that train on another benchmark (SQuAD) need it too.
      tfds_data_dir: where TFDS keeps its data.
      vocabulary: path of a vocabulary; None follows `nmt5.data.registry.configure`.
      few_seeds: seeds of the few-shot mixtures `<name>_few_shot_seed<s>`.

    Returns:
      The names of the mixtures, or of the evaluation tasks if the benchmark has no setting.

    Raises:
      ConfigError: an unknown benchmark, or one without TFDS form and without directory.
    """
    benchmark = find_benchmark(name)
    build = functools.partial(
        _task,
        directories={key: os.fspath(path) for key, path in (directories or {}).items()},
        tfds_data_dir=tfds_data_dir,
        vocabulary=vocabulary,
    )
    evaluated = {
        language: build(
            f"{name}_eval.{_plain(language)}",
            splits={
                split: Part(benchmark=name, language=language, split=split)
                for split in ("validation", "test")
                if split in benchmark.splits and _has(benchmark, language, split)
            },
        )
        for language in benchmark.languages
        if any(_has(benchmark, language, split) for split in ("validation", "test"))
    }
    mixtures = []
    for setting in settings_of(benchmark):
        languages = benchmark.train_languages if setting == "in_language" else (None,)
        seeds = few_seeds if setting == "few_shot" else (0,)
        for language in languages:
            for seed in seeds:
                chosen = plan(benchmark, setting, language=language, seed=seed)
                mixture = f"{name}_{setting}"
                mixture += f".{_plain(language)}" if language else ""
                mixture += f"_seed{seed}" if setting == "few_shot" else ""
                members = [build(_part_name(part), splits={"train": part}) for part in chosen.train]
                members += [evaluated[part.language] for part in chosen.test]
                if mixture not in seqio.MixtureRegistry.names():
                    seqio.MixtureRegistry.add(mixture, members, default_rate=1.0)
                mixtures.append(mixture)
    if benchmark.selected_on_test and "zeroshot" in settings_of(benchmark):
        mixtures.append(f"{name}_zeroshot_held_out")
        chosen = plan(benchmark, "zeroshot", selection="held_out_english")
        (part,), (reserved,) = chosen.train, chosen.selection
        member = build(_part_name(part), splits={"train": part, "validation": reserved})
        members = [member, *(evaluated[part.language] for part in chosen.test)]
        if mixtures[-1] not in seqio.MixtureRegistry.names():
            seqio.MixtureRegistry.add(mixtures[-1], members, default_rate=1.0)
    return tuple(mixtures) or tuple(evaluated.values())


def _task(
    task: str,
    *,
    splits: Mapping[str, Part],
    directories: Mapping[str, str],
    tfds_data_dir: str | None,
    vocabulary: os.PathLike | str | None,
) -> str:
    if task in seqio.TaskRegistry.names():
        return task
    part = next(iter(splits.values()))
    benchmark = find_benchmark(part.benchmark)
    directory = directories.get(part.benchmark)
    if directory is None and benchmark.tfds is None:
        raise ConfigError(
            f"{part.benchmark}: TFDS does not have it; name the directory of its original files in "
            f"directories['{part.benchmark}']"
        )
    seqio.TaskRegistry.add(
        task,
        source=BenchmarkSource(
            benchmark, splits=splits, directory=directory, tfds_data_dir=tfds_data_dir
        ),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={"inputs": feature(vocabulary), "targets": feature(vocabulary)},
        postprocess_fn=_references_or_text,
        metric_fns=_metric_fns(benchmark, part.language),
    )
    return task


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
            first = [references[0] for references in targets]
            settings = {"metric": metric, "language": answers_in, "num_draws": 0}
            found = score_texts(predictions, references=first, **settings)
            return {metric: found.interval.value}

        return scores

    return [
        *(textual(name) for name in benchmark.text_metrics),
        *(counted(metric) for metric in (*benchmark.metrics, OUTPUT_FAULTS)),
    ]


def _has(benchmark: Benchmark, language: str, split: str) -> bool:
    if split not in benchmark.splits:
        return False
    limited = benchmark.validation_languages if split == "validation" else ()
    return not limited or language in limited


def _part_name(part: Part) -> str:
    kind = part.split if part.limit is None else f"few{part.limit}_seed{part.seed}"
    kind += f"_without{part.held_out}" if part.held_out else ""
    return f"{part.benchmark}_{kind}.{_plain(part.language)}"


def _plain(language: str) -> str:
    return language.replace("-", "_")
