"""What a benchmark is: files, text form, scores, languages, and which parts train it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any

from etils import epath

from nmt5.core.errors import DataError, unknown_name
from nmt5.evaluation.benchmarks.records import Record
from nmt5.evaluation.scores.counted import CountedMetric
from nmt5.evaluation.text_to_answer.text_example import TextExample

SPLITS = ("train", "translate_train", "validation", "test")
ENGLISH = "en"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """The files that hold a split of a language, and what reads them.

    Attributes:
      names: patterns below the benchmark's directory, with `{language}` and what `Benchmark.fields`
        adds. A file with `.gz` added is taken as well.
      reader: called with a path per name and `dropped`.
      settings: pattern per keyword of the reader, filled as the names are.
    """

    names: tuple[str, ...]
    reader: Callable[..., Iterator[Record]]
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsForm:
    """The same records from TensorFlow Datasets.

    Attributes:
      name: pattern of the data set, with its version.
      splits: pattern of the data set's split, by split.
      record: one row (nested dictionaries of NumPy values), its number and the language ->
        a record, or None for a row of another language or without a label.
      other_names: pattern of the data set for splits that another one holds.
      languages: those that it has; () for all of the benchmark's.
      choose: (language -> all its records, language, split) -> the records of the split, where the
        benchmark's splits are not those of the data set (WikiLingua).
    """

    name: str
    splits: Mapping[str, str]
    record: Callable[[Mapping[str, Any], str, str], Record | None]
    other_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    languages: tuple[str, ...] = ()
    choose: Callable[[Callable[[str], Iterator[Record]], str, str], Iterator[Record]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Some examples of a benchmark: all of a split, or a seeded few; see `regimes.take`.

    Attributes:
      benchmark: name of the benchmark.
      language: one of its languages.
      split: one of its splits.
      limit: how many examples; None for all.
      seed: chooses which.
      held_out: how many examples of the split are kept from training; the same for all seeds.
      reserved: the part is those that are kept, to choose a checkpoint on.
    """

    benchmark: str
    language: str
    split: str = "train"
    limit: int | None = None
    seed: int = 0
    held_out: int = 0
    reserved: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One row of the table of benchmarks.

    Attributes:
      name: of the benchmark; published scores use the same.
      languages: the codes that its files use, English first if it has English.
      splits: alternatives of files by split; the first that exist are read.
      to_text: record -> example as text.
      metrics: the first one's main score stands for the benchmark.
      text_metrics: further names of `nmt5.evaluation.text_metrics.METRICS`.
      inputs_tokens: length that inputs are cut to, as mt5's.
      targets_tokens: length that targets are cut to.
      train_languages: languages that have the split "train".
      validation_languages: languages that have the split "validation"; () for all.
      between: codes, any two of which make a further language `<source>_to_<target>`; `languages`
        are those that are meant when none is named.
      zeroshot: the English part that trains the zero-shot setting, often of another benchmark.
      english_validation: English examples of another benchmark on which a checkpoint is chosen
        where this one has no validation split, or none in English and English is asked for.
      translated: what trains the setting "translate_train" beside English where that is another
        benchmark's split "translate_train".
      large_data: the part of the large-data setting.
      answer_language: language -> language of the answers, for scoring.
      fields: language -> what else file names and reader settings contain.
      tfds: the same from TFDS, if it has it.
      note: what a reader of the scores must know.
      own_scores: (examples, predictions) -> scores that have no counts per example, hence no
        interval: the metric functions of somebody's SeqIO task.
    """

    name: str
    languages: tuple[str, ...]
    splits: Mapping[str, tuple[Files, ...]]
    to_text: Callable[[Any], TextExample]
    metrics: tuple[CountedMetric, ...] = ()
    text_metrics: tuple[str, ...] = ()
    inputs_tokens: int = 1024
    targets_tokens: int = 512
    train_languages: tuple[str, ...] = ()
    validation_languages: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    zeroshot: Part | None = None
    english_validation: Part | None = None
    translated: tuple[Part, ...] = ()
    large_data: Part | None = None
    answer_language: Callable[[str], str] = lambda language: language
    fields: Callable[[str], Mapping[str, str]] = lambda language: {}
    tfds: TfdsForm | None = None
    note: str = ""
    own_scores: Callable[[Sequence[Any], Sequence[str]], Mapping[str, float]] | None = None

    @property
    def main_score(self) -> str:
        """Name of the score that stands for the benchmark; "" if only scoring tells (SeqIO)."""
        if self.metrics:
            return self.metrics[0].main
        return self.text_metrics[0] if self.text_metrics else ""

    @property
    def test_split(self) -> str:
        """The split that is reported: test, or validation where there is no test (TyDi QA)."""
        return "test" if "test" in self.splits else "validation"

    @property
    def selected_on_test(self) -> bool:
        """Whether choosing a checkpoint and reporting it use the same examples."""
        has_validation = "validation" in self.splits or self.english_validation is not None
        return not has_validation or "test" not in self.splits

    def check(self, *, language: str, split: str) -> None:
        """Checks a language and a split.

        Raises:
          DataError: the benchmark lacks it; the message has the nearest.
        """
        if split not in self.splits:
            raise DataError(f"{self.name}: {unknown_name('split', split, self.splits)}")
        if self.has(language):
            return
        known: Sequence[str] = self.languages
        wrong = [code for code in language.split("_to_") if code not in self.between]
        if self.between and wrong and "_to_" in language:
            language, known = wrong[0], self.between
        raise DataError(f"{self.name}: {unknown_name('language', language, known)}")

    def has(self, language: str) -> bool:
        """Returns whether this is one of the languages, or a direction `between` two of its own."""
        source, _, target = language.partition("_to_")
        made = source != target and {source, target} <= set(self.between)
        return made or language in self.languages

    def validates(self, language: str) -> bool:
        """Returns whether a language has the split "validation"."""
        limited = self.validation_languages
        return "validation" in self.splits and (not limited or language in limited)

    def only(self, language: str) -> "Benchmark":
        """Returns the benchmark with one of its languages."""
        without = () if self.validates(language) else ("validation",)
        return dataclasses.replace(
            self,
            languages=(language,),
            splits={split: files for split, files in self.splits.items() if split not in without},
            train_languages=(language,) if language in self.train_languages else (),
            validation_languages=(),
        )

    def fill(self, pattern: str, *, language: str, split: str) -> str:
        """Returns a pattern with `{language}`, `{split}` and the benchmark's fields filled."""
        return pattern.format(language=language, split=split, **self.fields(language))


def read_records(
    benchmark: Benchmark,
    directory: epath.PathLike,
    *,
    language: str,
    split: str,
    dropped: Counter[str] | None = None,
) -> Iterator[Record]:
    """Yields a benchmark's records from its original files.

    Args:
      benchmark: which.
      directory: where its files are.
      language: one of its languages.
      split: one of its splits.
      dropped: receives `{reason: number}` of what was left out.

    Raises:
      DataError: no such split or language, no file, a file that cannot be read, or nothing in it.
    """
    benchmark.check(language=language, split=split)
    files, paths = _existing(benchmark, directory, language, split)
    settings = {
        key: benchmark.fill(pattern, language=language, split=split)
        for key, pattern in files.settings.items()
    }
    dropped = Counter() if dropped is None else dropped
    empty = True
    for record in files.reader(*paths, **settings, dropped=dropped):
        empty = False
        yield record
    if empty:
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        raise DataError(
            f"{benchmark.name}: language '{language}', split '{split}': no examples in "
            f"{', '.join(map(str, paths))}{f' ({reasons})' if reasons else ''}; get the file again"
        )


def read_examples(
    benchmark: Benchmark,
    directory: epath.PathLike,
    *,
    language: str,
    split: str,
    dropped: Counter[str] | None = None,
) -> Iterator[TextExample]:
    """Yields a benchmark's examples as text; arguments and errors as `read_records`."""
    records = read_records(benchmark, directory, language=language, split=split, dropped=dropped)
    for record in records:
        yield benchmark.to_text(record)


def _existing(
    benchmark: Benchmark, directory: epath.PathLike, language: str, split: str
) -> tuple[Files, list[epath.Path]]:
    tried = []
    for files in benchmark.splits[split]:
        paths = []
        for name in files.names:
            plain = epath.Path(directory) / benchmark.fill(name, language=language, split=split)
            packed = epath.Path(f"{plain}.gz")
            paths.append(packed if not plain.exists() and packed.exists() else plain)
        if all(path.exists() for path in paths):
            return files, paths
        tried.append(" + ".join(str(path) for path in paths))
    raise DataError(
        f"{benchmark.name}: language '{language}', split '{split}': no file; looked for "
        f"{' or '.join(tried)}; set the directory of the benchmark's files"
    )
