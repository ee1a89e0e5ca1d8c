from collections import Counter
import importlib
import pickle

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.languages import language_code
from nmt5.data.sources.catalogs import find_catalogs
from nmt5.data.sources.gettext import (
    LANGUAGES,
    PACKAGES,
    SHARD,
    SPLITS,
    GettextSource,
    aligned_messages,
    split_of,
)
from nmt5.data.sources.messages import message_key

RUSSIAN = (
    "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 "
    ": n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);"
)


def read(source, split="train", dropped=None):
    return list(source.read(split, SHARD, Counter() if dropped is None else dropped))


def in_split(split, number):
    """Returns messages of one word that are drawn into a split."""
    words = (f"word{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}" for i in range(100))
    return [word for word in words if split_of(word) == split][:number]


def all_splits(source):
    dropped = Counter()
    return [example for split in SPLITS for example in read(source, split, dropped)], dropped


def test_every_drop_is_counted(make_package):
    make_package(
        "demo_drops",
        {
            "fr": {
                "Cancel": "Annuler",
                "menu\x04Cancel": "Annuler",
                "Editor": "Editor",
                "Hello %(name)s": "Bonjour",
                "12:30": "12h30",
                "Empty": "",
            },
            "de": {"Cancel": "Abbrechen", "Empty": "Leer"},
        },
    )
    source = GettextSource(languages=("en", "fr"), packages=("demo_drops",))
    examples, dropped = all_splits(source)
    assert examples == [{"en": "Cancel", "fr": "Annuler"}]
    assert dropped == {
        "duplicate": 1,
        "identical": 1,
        "placeholders differ": 1,
        "no words": 1,
        "untranslated": 1,
    }


def test_plural_forms_go_with_the_right_english(make_package):
    make_package(
        "demo_plural", {"ru": {"%d day\x00%d days": "%d день\x00%d дня\x00%d дней"}}, plural=RUSSIAN
    )
    examples, dropped = all_splits(GettextSource(languages=("en", "ru"), packages=("demo_plural",)))
    assert examples == [{"en": "{0} day", "ru": "{0} день"}, {"en": "{0} days", "ru": "{0} дней"}]
    assert dropped == {"other plural form": 1}


def test_one_form_serves_singular_and_plural(make_package):
    make_package(
        "demo_single", {"ja": {"%d day\x00%d days": "%d 日"}}, plural="nplurals=1; plural=0;"
    )
    pairs, _ = all_splits(GettextSource(languages=("en", "ja"), packages=("demo_single",)))
    assert [pair["en"] for pair in pairs] == ["{0} day", "{0} days"]
    texts, dropped = all_splits(GettextSource(languages=("ja",), packages=("demo_single",)))
    assert texts == [{"ja": "{0} 日"}] and dropped == {"duplicate": 1}


def test_locales_with_one_code_are_merged(make_package):
    make_package("demo_merge", {"zh_CN": {"Save": "保存"}, "zh_Hans": {"Cancel": "取消"}})
    examples, _ = all_splits(GettextSource(languages=("zh",), packages=("demo_merge",)))
    assert sorted(example["zh"] for example in examples) == ["保存", "取消"]


def test_translation_of_a_test_message_is_taken_out_of_training(make_package):
    (held,), (trained, other) = in_split("test", 1), in_split("train", 2)
    make_package("demo_leak", {"fr": {held: "Même texte", trained: "même texte.", other: "Autre"}})
    dropped = Counter()
    source = GettextSource(languages=("fr",), packages=("demo_leak",))
    assert read(source, "train", dropped) == [{"fr": "Autre"}]
    assert dropped["text is held out"] == 1
    assert read(source, "test") == [{"fr": "Même texte"}]


def test_aligned_messages_merge_variants(make_package):
    (held,) = in_split("test", 1)
    make_package("demo_align", {"fr": {held: "un"}, "de": {held: "ein"}, "it": {f"{held}!": "uno"}})
    aligned = aligned_messages("test", languages=("fr", "de", "it"), packages=("demo_align",))
    assert aligned == {held: {"fr": "un", "de": "ein", "it": "uno"}}


def test_faults_are_named(make_package):
    with pytest.raises(ConfigError, match="catalogs translate from English"):
        GettextSource(languages=("de", "fr"))
    with pytest.raises(DataError, match="install the extra `demo`"):
        read(GettextSource(languages=("fr",), packages=("surely_not_installed",)))
    make_package("demo_one", {"fr": {"Save": "Sauver"}})
    with pytest.raises(DataError, match=r"unknown language with a catalog in demo_one 'fra'.*'fr'"):
        read(GettextSource(languages=("fra",), packages=("demo_one",)))
    with pytest.raises(DataError, match="nearest: 'train'"):
        read(GettextSource(languages=("fr",), packages=("demo_one",)), "trian")
    make_package("demo_corrupt", {"fr": b"not a catalog"})
    with pytest.raises(DataError, match=r"app\.mo cannot be parsed"):
        read(GettextSource(languages=("fr",), packages=("demo_corrupt",)))


def test_source_is_a_small_picklable_value():
    source = GettextSource(languages=("en", "fr"))
    assert pickle.loads(pickle.dumps(source)) == source
    assert len(pickle.dumps(source)) < 300 and hash(source)


class TestDemoPackages:
    """Against Django and humanize as installed."""

    @pytest.fixture(autouse=True)
    def installed(self):
        importlib.import_module("django")
        importlib.import_module("humanize")

    def test_the_table_of_languages_is_what_is_installed(self):
        locales = {locale for package in PACKAGES for locale, _ in find_catalogs(package)}
        codes = {language_code(locale) for locale in locales}
        assert {code for code in codes if not code.startswith("en")} == set(LANGUAGES)
        assert list(LANGUAGES) == sorted(LANGUAGES)

    @pytest.mark.slow
    def test_no_message_is_in_two_splits_in_any_two_languages(self):
        keys, texts = {}, {}
        for split in SPLITS:
            keys[split], texts[split] = set(), set()
            for language in LANGUAGES:
                for example in read(GettextSource(languages=("en", language)), split):
                    keys[split].add(message_key(example["en"]))
                    texts[split].add((language, example[language]))
            texts[split] |= {("en", e["en"]) for e in read(GettextSource(languages=("en",)), split)}
        for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
            assert not keys[one] & keys[other]
            assert not texts[one] & texts[other]
        total = sum(map(len, keys.values()))
        assert 0.72 < len(keys["train"]) / total < 0.84

    def test_monolingual_training_text_holds_no_translation_of_a_test_message(self):
        aligned = aligned_messages("test")
        for language in ("fr", "ja", "sw", "pt-BR"):
            trained = {example[language] for example in read(GettextSource(languages=(language,)))}
            assert not trained & {
                texts[language] for texts in aligned.values() if language in texts
            }
            assert len(trained) > 150

    def test_held_out_messages_are_enough_to_measure(self):
        aligned = aligned_messages("test")
        assert 110 <= len(aligned) <= 130
        assert sum(len(texts) >= 50 for texts in aligned.values()) > 80
