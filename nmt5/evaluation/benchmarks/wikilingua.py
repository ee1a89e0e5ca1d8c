"""WikiLingua's splits, made here: 1000 + 1000 examples per language, no article in two splits."""

from collections import Counter, defaultdict
from collections.abc import Iterator
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
    path, english_path = epath.Path(path), epath.Path(english_path)
    splits = _splits(str(path.parent), path.suffix == ".gz", held_out, seed)
    english = None if language == "en" else english_path
    articles = [
        one
        for one in read_wikilingua(path, english, dropped=dropped)
        if splits[one.article] == split
    ]
    if split != "train":
        kept = limited(articles, count=held_out, seed=seed)
        dropped["of a held-out article, beyond the number wanted"] += len(articles) - len(kept)
        articles = kept
    yield from articles


@functools.lru_cache(maxsize=2)
def _splits(directory: str, packed: bool, held_out: int, seed: int) -> dict[str, str]:
    """The draw over all languages: it reads every file once per process."""
    suffix = ".json.gz" if packed else ".json"
    paths = {code: epath.Path(directory) / f"{n}{suffix}" for code, n in LANGUAGE_NAMES.items()}
    sections: dict[str, Counter[str]] = defaultdict(Counter)
    for code, path in paths.items():
        if path.exists():
            english = None if code == "en" else paths["en"]
            for one in read_wikilingua(path, english, dropped=Counter()):
                sections[one.article][code] += 1
    return hold_out(sections, validation=held_out, test=held_out, seed=seed)
