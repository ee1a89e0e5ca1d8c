"""WikiLingua's splits, made here: 1000 + 1000 examples per language, no article in two splits.

The original JSON files and TFDS go through one draw. It is over all languages, so it reads all of
them once per process.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools

from etils import epath

from nmt5.evaluation.benchmarks.article_files import hold_out, limited, read_wikilingua
from nmt5.evaluation.benchmarks.records import Article

HELD_OUT = 1000
SEED = 0

# The data set's file names.
LANGUAGE_NAMES = {
    "en": "english", "ar": "arabic", "cs": "czech", "de": "german", "es": "spanish",
    "fr": "french", "hi": "hindi", "id": "indonesian", "it": "italian", "ja": "japanese",
    "ko": "korean", "nl": "dutch", "pt": "portuguese", "ru": "russian", "th": "thai",
    "tr": "turkish", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip

# Language -> all its articles; hashable, equal where the text is the same.
ReadLanguage = Callable[[str], Iterable[Article]]


def read_wikilingua_split(
    path: epath.PathLike,
    english_path: epath.PathLike,
    *,
    language: str,
    split: str,
    held_out: int = HELD_OUT,
    seed: int = SEED,
    dropped: Counter[str],
) -> Iterator[Article]:
    """Yields one split of a language; the split of an article depends on all languages' files.

    Args:
      path: the language's JSON; every language whose file stands beside it takes part in the draw.
      english_path: English's JSON.
      language: code of the language.
      split: "train", "validation" or "test".
      held_out: examples per language in validation, and as many in test.
      seed: of the draw.
      dropped: receives what the reader leaves out, and the examples of held-out articles beyond
        `held_out`, which are in no split.

    Raises:
      DataError: a file cannot be read, or a language has too few examples.
    """
    path = epath.Path(path)
    english = None if language == "en" else english_path
    yield from _in_split(
        read_wikilingua(path, english, dropped=dropped),
        split,
        read=_JsonFiles(str(path.parent), ".json.gz" if path.suffix == ".gz" else ".json"),
        held_out=held_out,
        seed=seed,
        dropped=dropped,
    )


def draw_wikilingua_split(
    read: ReadLanguage, language: str, split: str, *, held_out: int = HELD_OUT, seed: int = SEED
) -> Iterator[Article]:
    """Yields one split of a language out of articles of wherever, for TFDS.

    Args:
      read: gives the articles of each language of `LANGUAGE_NAMES`.
      language: as the other arguments, see `read_wikilingua_split`.
      split: see there.
      held_out: see there.
      seed: see there.

    Raises:
      DataError: a language has too few examples.
    """
    settings = {"held_out": held_out, "seed": seed, "dropped": Counter()}
    yield from _in_split(read(language), split, read=read, **settings)


@dataclasses.dataclass(frozen=True)
class _JsonFiles:
    """Reads a language's articles from its file in a directory; none if there is no such file."""

    directory: str
    suffix: str

    def __call__(self, language: str) -> Iterator[Article]:
        path, english = (
            epath.Path(self.directory) / f"{LANGUAGE_NAMES[code]}{self.suffix}"
            for code in (language, "en")
        )
        if path.exists():
            source = None if language == "en" else english
            yield from read_wikilingua(path, source, dropped=Counter())


def _in_split(
    articles: Iterable[Article],
    split: str,
    *,
    read: ReadLanguage,
    held_out: int,
    seed: int,
    dropped: Counter[str],
) -> list[Article]:
    splits = _draw(read, held_out, seed)
    chosen = [one for one in articles if splits[one.article] == split]
    if split == "train":
        return chosen
    kept = limited(chosen, count=held_out, seed=seed)
    dropped["of a held-out article, beyond the number wanted"] += len(chosen) - len(kept)
    return kept


@functools.lru_cache(maxsize=2)
def _draw(read: ReadLanguage, held_out: int, seed: int) -> dict[str, str]:
    sections: dict[str, Counter[str]] = defaultdict(Counter)
    for language in LANGUAGE_NAMES:
        for one in read(language):
            sections[one.article][language] += 1
    return hold_out(sections, validation=held_out, test=held_out, seed=seed)
