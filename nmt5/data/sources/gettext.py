"""The user interfaces of installed Python packages as text in about a hundred languages.

Programs ship their messages in English with translations by people. A few packages give small but
real multilingual text that needs no download beyond the package registry. The languages are very
unevenly complete, the messages short.

A message is in one split, whatever the language: the split is drawn from the English message's key
(`messages.message_key`), which variants in case, number, punctuation and placeholders share.
Whatever still would stand in training word for word (a translation that two English messages
share) is taken out of training and counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
import dataclasses
import functools
import hashlib
import threading

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.languages import language_code
from nmt5.data.sources.base import TextSource
from nmt5.data.sources.catalogs import Catalog, find_catalogs, read_catalog
from nmt5.data.sources.messages import has_words, message_key, plain_text, plain_texts

ENGLISH = "en"
PACKAGES = ("django", "humanize")
SPLITS = ("train", "validation", "test")
SHARD = "catalogs"

# Parts of the keys; the rest is for training.
TEST_PART = 0.16
VALIDATION_PART = 0.08

# The languages of Django 5.2 and humanize 4.12 or later, written out so that naming tasks opens no
# file. Locales with the same code are merged: humanize's `pt_PT`, `zh_CN`, `zh_HK`, `bn_BD` go with
# Django's `pt`, `zh_Hans`, `zh_Hant`, `bn`. English as written elsewhere (`en_GB`) is left out:
# what little its catalogs hold is not a translation.
# fmt: off
LANGUAGES = (
    "af", "am", "ar", "ar-DZ", "ast", "az", "be", "bg", "bn", "br", "bs", "ca", "ckb", "cs",
    "cy", "da", "de", "dsb", "el", "eo", "es", "es-AR", "es-CO", "es-MX", "es-VE", "et", "eu",
    "fa", "fi", "fr", "fy", "ga", "gd", "gl", "hi", "hr", "hsb", "hu", "hy", "ia", "id", "ig",
    "io", "is", "it", "iw", "ja", "ka", "kab", "kk", "km", "kn", "ko", "ky", "lb", "lt", "lv",
    "mk", "ml", "mn", "mr", "ms", "my", "nb", "ne", "nl", "nn", "os", "pa", "pl", "pt", "pt-BR",
    "ro", "ru", "si", "sk", "sl", "sq", "sr", "sr-Latn", "sv", "sw", "ta", "te", "tg", "th",
    "tk", "tlh", "tr", "tt", "udm", "ug", "uk", "ur", "uz", "vi", "zh", "zh-Hant",
)
# fmt: on

# Plural forms are compared over these numbers of things.
_MANY = range(2, 102)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GettextSource(TextSource):
    """Messages in one language, or English messages with their translations.

    A translation whose English has singular and plural gives two examples: the form for one, and
    the form that most of the numbers 2 to 101 take. Other forms are counted as dropped, as are
    entries without words, entries that repeat, are not translated, equal the English text, or do
    not keep its placeholders.

    Attributes:
      languages: ("en",), (xx,) or ("en", xx).
      packages: names of the installed packages whose catalogs are read; they are not imported.

    Raises:
      ConfigError: a pair without English.
    """

    packages: tuple[str, ...] = PACKAGES

    def __post_init__(self):
        super().__post_init__()
        if len(self.languages) == 2 and self.languages[0] != ENGLISH:
            raise ConfigError(
                f"gettext: pair {self.languages}: catalogs translate from English; use "
                f"('{ENGLISH}', language)"
            )

    def splits(self) -> tuple[str, ...]:
        """Returns train, validation, test."""
        return SPLITS

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns the one shard that all catalogs make."""
        _check_split(split)
        return (SHARD,)

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the examples of a split; see the base class.

        Raises:
          DataError: a package is missing, has no catalog of the language, or one is corrupt.
        """
        _check_split(split)
        if shard != SHARD:
            raise DataError(f"gettext: {unknown_name('shard', shard, [SHARD])}")
        translations = _load(self.packages)
        language = self.languages[-1]
        if language == ENGLISH:
            # Every other catalog holds the English messages; an English one has none.
            messages = [m for read in translations.values() for m in read.messages]
        else:
            found = _of_language(translations, language, self.packages)
            dropped.update(found.dropped[split])
            messages = found.messages
        held_out = _keys_in(messages, _splits_before(split), self.languages)
        seen = set()
        for message in messages:
            if message.split != split:
                continue
            example = {name: message.text(name) for name in self.languages}
            identity = tuple(example.values())
            if identity in seen:
                # English alone is repeated in every language's catalog, which is no loss.
                if language != ENGLISH:
                    dropped["duplicate"] += 1
                continue
            seen.add(identity)
            if any(message_key(text) in held_out[name] for name, text in example.items()):
                dropped["text is held out"] += 1
                continue
            yield example


def aligned_messages(
    split: str, *, languages: Iterable[str] = LANGUAGES, packages: tuple[str, ...] = PACKAGES
) -> dict[str, dict[str, str]]:
    """Returns `{English message: {language: translation}}` of a split, one message per key.

    Plurals are left out, since they repeat their singular. Where a key has several variants, the
    one with most translations stands for it, and a language that lacks it gives its own variant's.

    Args:
      split: train, validation or test.
      languages: the languages wanted; English is not listed.
      packages: as in `GettextSource`.

    Raises:
      DataError: a package is missing or corrupt, or a language has no catalog.
    """
    _check_split(split)
    translations = _load(packages)
    by_key: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for language in languages:
        for message in _of_language(translations, language, packages).messages:
            if message.split == split and not message.plural:
                variants = by_key[message.key]
                variants[message.english].setdefault(language, message.translation)
    aligned = {}
    for _, variants in sorted(by_key.items()):
        ranked = sorted(variants.items(), key=lambda item: (-len(item[1]), item[0]))
        merged = {}
        for _, texts in reversed(ranked):
            merged.update(texts)
        aligned[ranked[0][0]] = merged
    return aligned


def split_of(key: str) -> str:
    """Returns the split that a message key is drawn into, the same on every machine."""
    drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if drawn < TEST_PART:
        return "test"
    return "validation" if drawn < TEST_PART + VALIDATION_PART else "train"


@dataclasses.dataclass(frozen=True, slots=True)
class _Message:
    english: str
    translation: str
    key: str
    split: str
    plural: bool

    def text(self, language: str) -> str:
        return self.english if language == ENGLISH else self.translation


@dataclasses.dataclass(frozen=True)
class _Translations:
    """What all catalogs of a language hold, and per split what was left out of it."""

    messages: list[_Message]
    dropped: dict[str, Counter[str]]


_loading = threading.Lock()


def _load(packages: tuple[str, ...]) -> dict[str, _Translations]:
    """Reads all catalogs of some packages: 1,262 files take about 3 s, once per process."""
    with _loading:  # a cache alone would let every thread that comes early read all of them
        return _loaded(packages)


@functools.lru_cache(maxsize=4)
def _loaded(packages: tuple[str, ...]) -> dict[str, _Translations]:
    loaded: dict[str, _Translations] = {}
    for package in packages:
        for locale, path in find_catalogs(package):
            language = language_code(locale)
            if language == ENGLISH or language.startswith(f"{ENGLISH}-"):
                continue
            if language not in loaded:
                loaded[language] = _Translations([], defaultdict(Counter))
            _collect(read_catalog(path), loaded[language])
    all_keys = {message.key for found in loaded.values() for message in found.messages}
    for found in loaded.values():
        for key in all_keys - {message.key for message in found.messages}:
            found.dropped[split_of(key)]["untranslated"] += 1
    return loaded


def _collect(catalog: Catalog, into: _Translations) -> None:
    for entry in catalog.entries:
        # One key for both, so that no plural is separated from its singular.
        key = message_key(plain_text(entry.english))
        split = split_of(key)
        texts = {False: (entry.english, entry.translations[0])}
        num_forms = len(entry.translations)
        if entry.english_plural is not None:
            one, many = catalog.plural_form(1), _usual_form(catalog)
            if max(one, many) >= num_forms:  # the header promises forms that the entry lacks
                texts, num_left_out = {}, num_forms
            else:
                texts = {
                    False: (entry.english, entry.translations[one]),
                    True: (entry.english_plural, entry.translations[many]),
                }
                num_left_out = num_forms - len({one, many})
            if num_left_out:
                into.dropped[split]["other plural form"] += num_left_out
        for plural, (english, translation) in texts.items():
            if not translation:
                continue  # counted as untranslated, unless another catalog translates it
            plain = plain_texts(english, translation)
            if plain is None:
                into.dropped[split]["placeholders differ"] += 1
            elif not all(map(has_words, plain)):
                into.dropped[split]["no words"] += 1
            elif plain[0] == plain[1]:
                into.dropped[split]["identical"] += 1
            else:
                into.messages.append(_Message(*plain, key, split, plural))


@functools.lru_cache(maxsize=4096)
def _usual_form_of(forms: tuple[int, ...]) -> int:
    return Counter(forms).most_common(1)[0][0]


def _usual_form(catalog: Catalog) -> int:
    return _usual_form_of(tuple(catalog.plural_form(number) for number in _MANY))


def _keys_in(
    messages: list[_Message], splits: tuple[str, ...], languages: tuple[str, ...]
) -> dict[str, set[str]]:
    return {
        language: {message_key(m.text(language)) for m in messages if m.split in splits}
        for language in languages
    }


def _splits_before(split: str) -> tuple[str, ...]:
    """The splits whose text a split must not repeat: test is kept whole, training gives way."""
    return {"train": ("validation", "test"), "validation": ("test",), "test": ()}[split]


def _of_language(
    translations: dict[str, _Translations], language: str, packages: tuple[str, ...]
) -> _Translations:
    if language not in translations:
        kind = f"language with a catalog in {', '.join(packages)}"
        raise DataError(f"gettext: {unknown_name(kind, language, translations)}")
    return translations[language]


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise DataError(f"gettext: {unknown_name('split', split, SPLITS)}")
