"""What is trained on and what is evaluated in each setting of the papers.

zeroshot         English examples, perhaps another benchmark's (SQuAD for XQuAD and MLQA); or with a
                 language that one's own, reported in all languages
translate_train  the English ones and their translations (for MLQA, XQuAD's)
in_language      one language's own examples
multilingual     all languages' own examples
few_shot         100 of the zero-shot examples, chosen by a seed
large_data       SQuAD's 80,000 for TyDi QA
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import hashlib

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.evaluation.benchmarks.benchmark import ENGLISH, Benchmark, Part
from nmt5.evaluation.text_to_answer.text_example import TextExample

SETTINGS = (
    "zeroshot",
    "translate_train",
    "in_language",
    "multilingual",
    "few_shot",
    "large_data",
)
SELECTIONS = ("all_languages", "english", "held_out_english")
FEW = 100
# Of English training examples, where checkpoints are chosen on them; a tenth of TyDi QA's.
HELD_OUT = 400


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Parts to train on, to choose the checkpoint on, and to report.

    Attributes:
      train: as they are mixed, at equal rates.
      selection: parts whose mean score chooses the checkpoint.
      test: parts that are reported, one per language.
      selected_on_test: the chosen and the reported examples are the same; tables must say so.
    """

    train: tuple[Part, ...]
    selection: tuple[Part, ...]
    test: tuple[Part, ...]
    selected_on_test: bool


def _is_english(language: str) -> bool:
    return language.split("_")[0] == ENGLISH


def settings_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Returns the settings that a benchmark's data allows; none if it only trains others."""
    if not {"validation", "test"} & set(benchmark.splits):
        return ()
    known = {
        "zeroshot": benchmark.zeroshot is not None,
        "translate_train": "translate_train" in benchmark.splits or bool(benchmark.translated),
        "in_language": bool(benchmark.train_languages),
        "multilingual": len(benchmark.train_languages) > 1,
        "few_shot": benchmark.zeroshot is not None,
        "large_data": benchmark.large_data is not None,
    }
    return tuple(name for name in SETTINGS if known[name])


def plan(
    benchmark: Benchmark,
    setting: str,
    *,
    language: str | None = None,
    selection: str = "all_languages",
    seed: int = 0,
) -> Plan:
    """Returns what a setting of a benchmark trains on, selects on and reports.

    Args:
      benchmark: which.
      setting: one of `settings_of(benchmark)`.
      language: the language of "in_language"; of "zeroshot" and "few_shot" the one that is trained
        on instead of English; other settings take none.
      selection: what chooses the checkpoint: the validation scores of all languages or of English
        ("english"; of the language that is trained on, where one is given), or
        "held_out_english", 400 of the English training examples, which are then not trained on:
        the only honest choice where the reported split is the validation split (TyDi QA). What has
        no validation split (XQuAD), or none in English, is chosen on `english_validation`.
      seed: chooses the few examples of "few_shot".

    Raises:
      ConfigError: the benchmark does not allow the setting, a language is missing or not wanted.
    """
    allowed = settings_of(benchmark)
    if setting not in allowed:
        raise ConfigError(f"{benchmark.name}: {unknown_name('setting', setting, allowed)}")
    if selection not in SELECTIONS:
        raise ConfigError(f"{benchmark.name}: {unknown_name('selection', selection, SELECTIONS)}")
    takes_one = setting == "in_language" or (language and setting in ("zeroshot", "few_shot"))
    if (language is not None) != bool(takes_one):
        raise ConfigError(
            f"{benchmark.name}: setting 'in_language' needs a language, 'zeroshot' and 'few_shot' "
            f"may have one, other settings take none; found setting '{setting}', language "
            f"{language!r}"
        )
    languages = (language,) if language and setting == "in_language" else benchmark.languages
    train = _training(benchmark, setting, language, seed)
    chosen_on = _selection(benchmark, languages, trained_on=language, selection=selection)
    if selection == "held_out_english":
        english_part = benchmark.zeroshot
        if english_part is None or english_part not in train:
            raise ConfigError(
                f"{benchmark.name}: setting '{setting}' does not train on all English examples, "
                "so none can be held out; use selection='english' or 'all_languages'"
            )
        reserved = dataclasses.replace(english_part, held_out=HELD_OUT, reserved=True)
        train = tuple(
            dataclasses.replace(one, held_out=HELD_OUT) if one == english_part else one
            for one in train
        )
        chosen_on = (reserved,)
    return Plan(
        train=train,
        selection=chosen_on,
        test=tuple(
            Part(benchmark=benchmark.name, language=one, split=benchmark.test_split)
            for one in languages
        ),
        selected_on_test=benchmark.selected_on_test and selection != "held_out_english",
    )


def _selection(
    benchmark: Benchmark, languages: tuple[str, ...], *, trained_on: str | None, selection: str
) -> tuple[Part, ...]:
    """Returns the parts of the selections that are of evaluation splits."""
    elsewhere = benchmark.english_validation
    if "validation" not in benchmark.splits and elsewhere is not None:
        return (elsewhere,)
    split = "validation" if "validation" in benchmark.splits else benchmark.test_split
    limited = benchmark.validation_languages if split == "validation" else ()
    if len(languages) > 1:
        languages = limited or languages
        if selection == "english":
            wanted = (lambda one: one == trained_on) if trained_on else _is_english
            english = tuple(filter(wanted, languages))
            if not english and elsewhere is not None:
                return (elsewhere,)
            languages = english or languages
    return tuple(Part(benchmark=benchmark.name, language=one, split=split) for one in languages)


def few(examples: Iterable[TextExample], *, count: int, seed: int) -> list[TextExample]:
    """Returns `count` examples, the same for a seed whatever their order in the file.

    >>> from nmt5.evaluation.text_to_answer.text_example import one_answer
    >>> some = [one_answer(str(i), "", "") for i in range(9)]
    >>> [one.id for one in few(some, count=3, seed=1)] == [
    ...     one.id for one in few(some[::-1], count=3, seed=1)]
    True
    """
    drawn = lambda one: hashlib.sha256(f"{seed} {one.id} {one.inputs}".encode()).digest()  # noqa: E731
    return sorted(examples, key=drawn)[:count]


def take(examples: Iterable[TextExample], *, part: Part) -> Iterator[TextExample]:
    """Yields the examples of a part out of all of its split.

    Raises:
      DataError: so many are held out that none is left.
    """
    if part.held_out:
        examples = list(examples)
        if len(examples) <= part.held_out:
            raise DataError(
                f"{part.benchmark}: language '{part.language}', split '{part.split}': "
                f"{len(examples)} examples, which leaves none after {part.held_out} held out"
            )
        reserved = few(examples, count=part.held_out, seed=0)
        names = {(one.id, one.inputs) for one in reserved}
        rest = [one for one in examples if (one.id, one.inputs) not in names]
        examples = reserved if part.reserved else rest
    if part.limit is not None:
        examples = few(examples, count=part.limit, seed=part.seed)
    yield from examples


def _training(
    benchmark: Benchmark, setting: str, language: str | None, seed: int
) -> tuple[Part, ...]:
    name = benchmark.name
    source = benchmark.zeroshot
    if language is not None:
        if language not in benchmark.train_languages:
            known: Sequence[str] = benchmark.train_languages
            message = unknown_name("language with training data", str(language), known)
            raise ConfigError(f"{name}: {message}")
        source = Part(benchmark=name, language=language)
        if setting == "in_language":
            return (source,)
    if setting == "multilingual":
        return tuple(Part(benchmark=name, language=one) for one in benchmark.train_languages)
    if setting == "large_data":
        return (benchmark.large_data,)
    if setting == "few_shot":
        return (dataclasses.replace(source, limit=FEW, seed=seed),)
    if setting == "translate_train":
        translated = benchmark.translated or tuple(
            Part(benchmark=name, language=one, split="translate_train")
            for one in benchmark.languages
            if one != ENGLISH
        )
        return (source, *translated)
    return (source,)
