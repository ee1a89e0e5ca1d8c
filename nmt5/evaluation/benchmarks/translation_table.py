"""Benchmarks of machine translation: NTREX, FLORES, OPUS-100, and any pair of line-aligned files.

What other benchmarks call a language is a direction here, `<source>_to_<target>`, in the codes of
the files. NTREX and FLORES are translations of the same sentences into all languages: evaluated are
the directions from and to English unless others are named, and any two languages may be.
"""

from collections.abc import Callable, Mapping
import functools

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.data.languages import language_code
from nmt5.data.opus100 import TRAIN_PAIRS, WITHOUT_HELD_OUT, ZERO_SHOT_LANGUAGES
from nmt5.evaluation.benchmarks.benchmark import SPLITS, Benchmark, Files
from nmt5.evaluation.benchmarks.bitext_files import read_aligned, read_aligned_jsonl
from nmt5.evaluation.benchmarks.flores_codes import FLORES_200, FLORES_PLUS, RENAMED
from nmt5.evaluation.benchmarks.language_sets import NTREX_LANGUAGES, SHORT_CODES
from nmt5.evaluation.scores.counted import CountedMetric
from nmt5.evaluation.text_to_answer.free_text import translation_text

TO = "_to_"
SIDE = "{side}"

# Code of a language -> what else file names contain for it.
Fields = Callable[[str], Mapping[str, str]]


def direction(source: str, target: str) -> str:
    """Returns the name of a direction."""
    return f"{source}{TO}{target}"


def _fields(
    language: str,
    *,
    text_code: Callable[[str], str],
    per_side: Fields = lambda code: {},
) -> Mapping[str, str]:
    """Returns what file names contain; and `<side>_<key>` of `per_side`."""
    source, _, target = language.partition(TO)
    low, high = sorted((source, target))
    found = {"source": source, "target": target, "low": low, "high": high}
    for name, code in (("source", source), ("target", target)):
        found |= {f"{name}_{key}": value for key, value in per_side(code).items()}
    return found | {"target_code": text_code(target)}


def _target_code(language: str, *, text_code: Callable[[str], str]) -> str:
    return text_code(language.partition(TO)[2])


def _translation(
    name: str, *, text_code: Callable[[str], str], per_side: Fields = lambda code: {}, **rest
) -> Benchmark:
    return Benchmark(
        name=name,
        to_text=translation_text,
        text_metrics=rest.pop("text_metrics", ("chrf++", "bleu")),
        fields=functools.partial(_fields, text_code=text_code, per_side=per_side),
        answer_language=functools.partial(_target_code, text_code=text_code),
        inputs_tokens=512,
        **rest,
    )


def _sides(pattern: str, *, key: str = "", reader=read_aligned) -> Files:
    """Returns the two files that `{side}` in a pattern stands for, a code or `<side><key>`."""
    names = tuple(pattern.replace(SIDE, f"{{{side}{key}}}") for side in ("source", "target"))
    return Files(names=names, reader=reader, settings={"language": "{target_code}"})


def _with_english(english: str, codes: tuple[str, ...]) -> tuple[str, ...]:
    others = [code for code in codes if code != english]
    return (
        *(direction(english, code) for code in others),
        *(direction(code, english) for code in others),
    )


def _ntrex_text_code(code: str) -> str:
    return SHORT_CODES.get(code, code)


def _flores_text_code(code: str) -> str:
    return FLORES_200.get(code) or FLORES_PLUS[code]


_OPUS_CODES = tuple(sorted(set(TRAIN_PAIRS) - WITHOUT_HELD_OUT))
_OPUS_TRAINED = _with_english("en", _OPUS_CODES)

TRANSLATION_ROWS = (
    _translation(
        "ntrex",
        text_code=_ntrex_text_code,
        # English is the source of all, and its file's name says so.
        per_side=lambda code: {"file": f"{'src' if code == 'eng' else 'ref'}.{code}"},
        languages=_with_english("eng", NTREX_LANGUAGES),
        between=("eng", *NTREX_LANGUAGES),
        splits={"test": (_sides(f"newstest2019-{SIDE}.txt", key="_file"),)},
    ),
    _translation(
        "flores",
        text_code=_flores_text_code,
        per_side=lambda code: {"plus": RENAMED.get(code, code)},
        languages=_with_english("eng_Latn", tuple(FLORES_200)),
        between=(*FLORES_200, *FLORES_PLUS),
        splits={
            split: (
                _sides(f"{short}/{SIDE}.{short}"),
                _sides(f"{short}/{short}.{SIDE}", key="_plus"),
                _sides(f"{short}/{SIDE}.jsonl", key="_plus", reader=read_aligned_jsonl),
            )
            for split, short in (("validation", "dev"), ("test", "devtest"))
        },
        note="FLORES-200 or FLORES+, whichever is there; the text of some languages was changed "
        "between the two",
    ),
    _translation(
        "opus100",
        text_code=language_code,
        languages=(
            *_OPUS_TRAINED,
            *(
                direction(source, target)
                for source in ZERO_SHOT_LANGUAGES
                for target in ZERO_SHOT_LANGUAGES
                if source != target
            ),
        ),
        splits={
            split: tuple(
                _sides(f"{folder}{{low}}-{{high}}/opus.{{low}}-{{high}}-{short}.{SIDE}")
                for folder in (
                    ("supervised/", "zero-shot/", "") if split == "test" else ("supervised/", "")
                )
            )
            for split, short in (("train", "train"), ("validation", "dev"), ("test", "test"))
        },
        train_languages=_OPUS_TRAINED,
        validation_languages=_OPUS_TRAINED,
        note="without an, dz, hy, mn and yo, which have no test set; 30 directions between ar, de, "
        "fr, nl, ru and zh have a test set only",
    ),
)


def moses_benchmark(
    name: str,
    *,
    pairs: tuple[tuple[str, str], ...],
    files: Mapping[str, str],
    metrics: tuple[CountedMetric, ...] = (),
    text_metrics: tuple[str, ...] = ("chrf++", "bleu"),
) -> Benchmark:
    """Returns translation between any pairs of line-aligned files of one's own.

    >>> own = moses_benchmark("talks", pairs=(("de", "fr"), ("fr", "de")),
    ...                       files={"test": "talks.{low}-{high}.{side}"})
    >>> own.languages
    ('de_to_fr', 'fr_to_de')

    Args:
      name: of the benchmark.
      pairs: (source, target) codes, as file names have them.
      files: by split a path with `{side}` for a language's code; `{low}`, `{high}` are the two
        codes in alphabetical order. Relative ones start at the directory that is read from.
      metrics: of texts with counts per example.
      text_metrics: names of `nmt5.evaluation.text_metrics.METRICS`; the main score is the first
        of `metrics` if there are any, else of these.

    Raises:
      ConfigError: no pair, a language paired with itself, an unknown split, or a path without
        `{side}` or with another name in braces.
    """
    if not pairs:
        raise ConfigError(f"task '{name}': no pair; give (('de', 'fr'), ...)")
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise ConfigError(f"task '{name}': {pair!r} is no pair of two languages")
    languages = tuple(direction(source, target) for source, target in pairs)
    for split, path in files.items():
        if split not in SPLITS:
            raise ConfigError(f"task '{name}': {unknown_name('split', split, SPLITS)}")
        if SIDE not in path:
            raise ConfigError(
                f"task '{name}': {path}: expected '{SIDE}' where the two files have the codes of "
                "their languages"
            )
    row = _translation(
        name,
        text_code=_ntrex_text_code,
        languages=languages,
        splits={split: (_sides(path),) for split, path in files.items()},
        train_languages=languages if "train" in files else (),
        metrics=metrics,
        text_metrics=text_metrics,
    )
    for split, path in files.items():
        for side in row.splits[split][0].names:
            try:
                row.fill(side, language=languages[0], split=split)
            except (KeyError, IndexError, ValueError) as error:
                raise ConfigError(
                    f"task '{name}': {path}: names in braces are side, low and high, found {error}"
                ) from error
    return row
