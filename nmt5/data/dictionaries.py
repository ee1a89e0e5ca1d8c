"""Dictionaries for the objectives that switch words: which text they come from, and its ids."""

from collections import Counter, defaultdict
from collections.abc import Iterator
import dataclasses
import functools
import logging
import os
import re
import unicodedata

import numpy as np

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.languages import check_language
from nmt5.data.sources.base import TextSource, check_corpus_name
from nmt5.data.token_dictionary import TokenDictionary, write_dictionary
from nmt5.data.vocabulary import Vocabulary

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_WORD_CATEGORIES = frozenset("LMN")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dictionary:
    """Words of one language with translations into others.

    Attributes:
      name: its file's name in the store begins so.
      language: the language whose words are replaced.
      sources: pairs of words, each a source of two languages, one of them `language`; usually
        `TsvSource`s. A word in several lines or sources has several translations.

    Raises:
      ConfigError: a name that cannot be a file's, no source, or one of other languages.
    """

    name: str
    language: str
    sources: tuple[TextSource, ...]

    def __post_init__(self):
        check_corpus_name(self.name, kind="dictionary")
        check_language(self.language)
        if not self.sources:
            raise ConfigError(f"dictionary '{self.name}': it has no source")
        for source in self.sources:
            if len(source.languages) != 2 or self.language not in source.languages:
                raise ConfigError(
                    f"dictionary '{self.name}': a source holds {source.languages}, expected "
                    f"'{self.language}' and another language"
                )


@functools.lru_cache(maxsize=64)
def encoded(dictionary: Dictionary, vocabulary: Vocabulary) -> TokenDictionary:
    """Reads a dictionary's sources, all splits and shards, and encodes them; once per process.

    A word is entered as it is written, and once more with its first letter and that of the
    translation as capitals, for the beginnings of sentences. Entries with an empty side and words
    that are their own translation are left out; how many is said in the log.

    Raises:
      DataError: no word is left; or what the sources raise.
      StorageError: a file is missing.
    """
    dropped: Counter[str] = Counter()
    entries: defaultdict[tuple[int, ...], dict[tuple[int, ...], None]] = defaultdict(dict)
    words = list(_forms(dictionary, dropped))
    ids = vocabulary.encode_batch([text for entry in words for text in entry])
    for word, translation in zip(ids[::2], ids[1::2], strict=True):
        entries[tuple(word)][tuple(translation)] = None
    if dropped:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(dropped.items()))
        _log.warning("dictionary '%s': entries left out: %s", dictionary.name, reasons)
    if not entries:
        raise DataError(
            f"dictionary '{dictionary.name}': it has no word of '{dictionary.language}' with a "
            "translation other than itself"
        )
    begins, ends = word_edges(vocabulary)
    return TokenDictionary.from_entries(
        {word: tuple(options) for word, options in entries.items()},
        begins=begins,
        ends=ends,
        vocabulary=vocabulary.fingerprint,
    )


def stored(dictionary: Dictionary, *, store: os.PathLike | str, vocabulary: Vocabulary) -> str:
    """Writes a dictionary's ids into a store; returns what a `TaskSpec` calls it. May raise as
    `encoded` and `write_dictionary`."""
    return write_dictionary(store, encoded(dictionary, vocabulary), name=dictionary.name)


def _forms(dictionary: Dictionary, dropped: Counter[str]) -> Iterator[tuple[str, str]]:
    for source in dictionary.sources:
        (other,) = set(source.languages) - {dictionary.language}
        for split in source.splits():
            for shard in source.shards(split):
                for entry in source.read(split, shard, dropped):
                    word, translation = entry[dictionary.language].strip(), entry[other].strip()
                    if not word or not translation:
                        dropped["empty"] += 1
                    elif word.lower() == translation.lower():
                        dropped["identical"] += 1
                    else:
                        yield word, translation
                        yield _capital(word), _capital(translation)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@functools.lru_cache(maxsize=4)
def word_edges(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Returns which ids begin and which end with a letter, digit or mark.

    Returns:
      Two bool arrays of shape (vocabulary,). A byte piece counts by its character if it is ASCII,
      else as a part of a letter.
    """
    pieces = vocabulary.pieces(range(vocabulary.token_ids.size))
    edges = np.array([_edges(piece) for piece in pieces], bool).reshape(-1, 2)
    return edges[:, 0].copy(), edges[:, 1].copy()


def _edges(piece: str) -> tuple[bool, bool]:
    if match := _BYTE_PIECE.fullmatch(piece):
        byte = int(match[1], 16)
        inside = byte >= 0x80 or chr(byte).isalnum()
        return inside, inside
    if not piece:
        return False, False
    first, last = (unicodedata.category(c)[0] in _WORD_CATEGORIES for c in (piece[0], piece[-1]))
    return first, last
