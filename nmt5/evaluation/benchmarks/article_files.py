"""WikiLingua's articles: documents in 18 languages, each with its English version's summary.

The data set's own form is `{url: {section: {document, summary[, english_url,
english_section_name]}}}`, one file per language, English without the last two. It is published as
Python pickles; those are refused, since opening one runs whatever code it holds.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
import hashlib
from typing import Any

from etils import epath

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.located_lines import Place, expect_keys, read_json_file, text_of
from nmt5.evaluation.benchmarks.records import Article

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".p")
_PICKLE_START = b"\x80"


def read_wikilingua(
    path: epath.PathLike, english_path: epath.PathLike | None, *, dropped: Counter[str]
) -> Iterator[Article]:
    """Yields the sections of a language's articles with their English summaries.

    Args:
      path: JSON of the language.
      english_path: JSON of English, which holds the summaries; None if `path` is English itself.
      dropped: receives the sections that name an English section that is not there, or are empty.

    Raises:
      DataError: a pickle, JSON cut off, or a section without the keys above.
    """
    articles = _load(path)
    english = articles if english_path is None else _load(english_path)
    for url, sections in articles.items():
        for name, section in expect_keys(sections, [], Place(str(path), f"'{url}'")).items():
            place = Place(str(path), f"'{url}', section '{name}'")
            keys = ["document"] if english_path is None else ["document", "english_url"]
            expect_keys(section, keys, place)
            document = text_of(section, "document", place)
            if english_path is None:
                english_url, english_name = url, name
            else:
                expect_keys(section, ["english_section_name"], place)
                english_url = text_of(section, "english_url", place)
                english_name = text_of(section, "english_section_name", place)
            summary = _summary(english, english_url, english_name, english_path or path)
            if summary is None:
                dropped["no English section"] += 1
            elif not summary.strip() or not document.strip():
                dropped["empty document or summary"] += 1
            else:
                yield Article(
                    id=f"{url}#{name}",
                    document=document,
                    summary=summary,
                    article=english_url,
                )


def hold_out(
    sections: Mapping[str, Mapping[str, int]], *, validation: int, test: int, seed: int
) -> dict[str, str]:
    """Returns the split of each article, the same for all its versions.

    Articles are taken in a seeded order: into test while any language that has the article still
    lacks test examples, then likewise into validation; the rest is for training. So a summary that
    is tested in one language is never trained on in another, which random examples per language
    would allow.

    >>> hold_out({"a": {"en": 1}, "b": {"en": 2}, "c": {"en": 1}}, validation=1, test=1, seed=1)
    {'c': 'test', 'a': 'validation', 'b': 'train'}

    Args:
      sections: number of examples by article and language.
      validation: examples wanted in each language's validation split.
      test: examples wanted in each language's test split.
      seed: of the order.

    Returns:
      "test", "validation" or "train" per article, in the order in which they were drawn. A language
      can have more examples held out than wanted: see `limited`.

    Raises:
      DataError: a language has too few examples to leave any for training.
    """
    order = sorted(sections, key=lambda article: _drawn(article, seed))
    total: Counter[str] = Counter()
    for counts in sections.values():
        total.update(counts)
    for language, number in sorted(total.items()):
        if number <= validation + test:
            raise DataError(
                f"WikiLingua: language '{language}' has {number} examples, which leaves none for "
                f"training after {validation} + {test} held out; hold out fewer"
            )
    splits: dict[str, str] = {}
    for split, wanted in (("test", test), ("validation", validation)):
        lacking = Counter(dict.fromkeys(total, wanted))
        for article in order:
            counts = sections[article]
            if article not in splits and any(lacking[language] > 0 for language in counts):
                splits[article] = split
                lacking.subtract(counts)
    for article in order:
        splits.setdefault(article, "train")
    return splits


def limited(articles: list[Article], *, count: int, seed: int) -> list[Article]:
    """Returns `count` examples of a held-out split, in the order of `hold_out`'s draw."""
    return sorted(articles, key=lambda one: (_drawn(one.article, seed), one.id))[:count]


def _drawn(article: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {article}".encode()).digest()


def _summary(english: dict[str, Any], url: str, name: str, path: epath.PathLike) -> str | None:
    """Returns the summary of an English section; None if there is no such section."""
    sections = expect_keys(english.get(url, {}), [], Place(str(path), f"'{url}'"))
    place = Place(str(path), f"'{url}', section '{name}'")
    section = expect_keys(sections.get(name, {}), [], place)
    return text_of(section, "summary", place) if "summary" in section else None


def _load(path: epath.PathLike) -> dict[str, Any]:
    path = epath.Path(path)
    pickled = path.suffix in _PICKLE_SUFFIXES
    if not pickled and path.exists():
        with path.open("rb") as file:
            pickled = file.read(1) == _PICKLE_START
    if pickled:
        raise DataError(
            f"{path}: a pickle, which could run any code when opened; convert it to JSON on a "
            "machine where that does no harm (json.dump of the loaded dictionary), or use the "
            "gem/wiki_lingua data sets of TFDS"
        )
    return expect_keys(read_json_file(path), [], Place(str(path), "top level"))
