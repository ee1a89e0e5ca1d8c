"""Code-switched text: some words of one side replaced by a dictionary's translations.

The random aligned substitution of mRASP (Lin et al., 2020), and of CSP and ALM: a word of the
source sentence becomes its translation in another language, so that words of one meaning meet in
one context. Put in front of the objective `nmt` it is mRASP's, in front of span corruption or
prefix LM the others'. As in mRASP's own preparation the words are drawn once, when text is read:
`prepare` stores one switched form of each sentence, the same on every machine.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
import dataclasses
import functools
import re

import numpy as np

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.core.files import sha256
from nmt5.data.sources.base import TextSource

SWITCHED_RATE = 0.3

_WORD = re.compile(r"\w+")


def switch_words(
    text: str,
    rng: np.random.Generator,
    *,
    translations: Mapping[str, tuple[str, ...]],
    rate: float = SWITCHED_RATE,
) -> str:
    """Replaces words that have a translation, each with probability `rate`.

    >>> table = {"dog": ("Hund",), "house": ("Haus", "Heim")}
    >>> switch_words("The dog, a House-dog!", np.random.default_rng(0), translations=table, rate=1)
    'The Hund, a Haus-Hund!'

    Args:
      text: the text; words are runs of letters and digits, so scripts that put no space between
        words are hardly switched.
      rng: draws which words, and which of several translations.
      translations: `{word in lower case: its translations}`.
      rate: probability of each word that is in the table.
    """

    def switched(match: re.Match[str]) -> str:
        options = translations.get(match[0].lower())
        if not options or rng.random() >= rate:
            return match[0]
        return options[int(rng.integers(len(options)))]

    return _WORD.sub(switched, text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeSwitchSource(TextSource):
    """Another source's examples with words of one language switched. `code_switched` makes one.

    Attributes:
      source: the other source.
      dictionaries: pairs of words, each a source of two languages, one of them `switched`; usually
        `TsvSource`s. A word in several lines or dictionaries has several translations.
      switched: the language whose text is changed. For a pair it should be the side that is read,
        not the one that is written.
      rate: probability of each word that a dictionary has.
      seed: other seeds draw other words.

    Raises:
      ConfigError: a rate out of range, a dictionary of other languages, or no dictionary.
    """

    source: TextSource
    dictionaries: tuple[TextSource, ...]
    switched: str
    rate: float = SWITCHED_RATE
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.switched not in self.languages:
            raise ConfigError(
                "code_switch: " + unknown_name("language", self.switched, self.languages)
            )
        if not 0 < self.rate <= 1:
            raise ConfigError(f"code_switch: rate {self.rate}, expected 0 < rate <= 1")
        if not self.dictionaries:
            raise ConfigError("code_switch: no dictionary is given")
        for dictionary in self.dictionaries:
            if len(dictionary.languages) != 2 or self.switched not in dictionary.languages:
                raise ConfigError(
                    f"code_switch: a dictionary holds {dictionary.languages}, expected "
                    f"'{self.switched}' and another language"
                )

    def splits(self) -> tuple[str, ...]:
        """Returns the splits of the other source."""
        return self.source.splits()

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns the shards of the other source."""
        return self.source.shards(split)

    def file_states(self) -> tuple:
        """Returns the states of the dictionaries' files and of the other source's."""
        sources = (self.source, *self.dictionaries)
        return tuple(state for s in sources for state in getattr(s, "file_states", tuple)())

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the examples; only those of `train` are switched, held-out text stays as it is.

        May raise all that the other source and the dictionaries raise.

        Raises:
          DataError: the dictionaries have no word.
        """
        if split != "train":
            yield from self.source.read(split, shard, dropped)
            return
        translations = _translations(self)
        for example in self.source.read(split, shard, dropped):
            text = example[self.switched]
            rng = np.random.default_rng(int(sha256(f"{self.seed} {text}".encode())[:16], 16))
            text = switch_words(text, rng, translations=translations, rate=self.rate)
            yield example | {self.switched: text}


def code_switched(
    source: TextSource,
    *,
    dictionaries: tuple[TextSource, ...],
    switched: str,
    rate: float = SWITCHED_RATE,
    seed: int = 0,
) -> CodeSwitchSource:
    """Returns a source with words of `switched` replaced; see `CodeSwitchSource`."""
    return CodeSwitchSource(
        languages=source.languages,
        source=source,
        dictionaries=dictionaries,
        switched=switched,
        rate=rate,
        seed=seed,
    )


@functools.lru_cache(maxsize=64)
def _translations(source: CodeSwitchSource) -> dict[str, tuple[str, ...]]:
    """Reads the dictionaries, all splits and shards, once per process."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for dictionary in source.dictionaries:
        (other,) = set(dictionary.languages) - {source.switched}
        for split in dictionary.splits():
            for shard in dictionary.shards(split):
                for entry in dictionary.read(split, shard, Counter()):
                    word, translation = entry[source.switched].strip(), entry[other].strip()
                    if word and translation and word.lower() != translation.lower():
                        found[word.lower()][translation] = None
    if not found:
        raise DataError(
            f"code_switch: the dictionaries have no word of '{source.switched}' with a translation "
            "other than itself"
        )
    return {word: tuple(translations) for word, translations in found.items()}
