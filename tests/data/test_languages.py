import importlib

import pytest

from nmt5.core.errors import DataError
from nmt5.data.languages import ENGLISH_NAMES, check_language, language_code, pair, task_suffix


@pytest.mark.parametrize(
    ("locale", "code"),
    [
        ("pt_BR", "pt-BR"),
        ("pt_PT", "pt"),
        ("zh_Hans", "zh"),
        ("zh_Hant", "zh-Hant"),
        ("zh_TW", "zh-Hant"),
        ("zh_HK", "zh-Hant"),
        ("zh-hans-cn", "zh"),
        ("sr_Latn", "sr-Latn"),
        ("sr@latin", "sr-Latn"),
        ("sr_Cyrl", "sr"),
        ("es_MX", "es-MX"),
        ("es_419", "es"),
        ("it_IT", "it"),
        ("fa_IR", "fa"),
        ("nb", "nb"),
        ("he_IL", "iw"),
        ("de_DE.UTF-8", "de"),
        ("DE", "de"),
        ("tl", "fil"),
        ("tlh", "tlh"),
    ],
)
def test_locale_names(locale, code):
    assert language_code(locale) == code


def test_every_code_is_its_own_locale():
    assert {code: language_code(code) for code in ENGLISH_NAMES} == {c: c for c in ENGLISH_NAMES}
    assert len(set(ENGLISH_NAMES.values())) == len(ENGLISH_NAMES)


def test_mc4_is_covered():
    c4 = importlib.import_module("tensorflow_datasets.text.c4")
    assert not {code for code in c4.MC4_LANGUAGES if code != "und"} - set(ENGLISH_NAMES)


@pytest.mark.parametrize("name", ["xx", "french", "", "fr fr", "en_"])
def test_unknown_language(name):
    with pytest.raises(DataError, match="unknown language"):
        language_code(name)
    with pytest.raises(DataError, match="unknown language"):
        check_language(name)


def test_pairs_and_task_names():
    assert pair("en", "de") == pair("de", "en") == ("en", "de")
    assert pair("zh", "cs") == ("cs", "zh")
    assert task_suffix("sr-Latn") == "sr_Latn"
