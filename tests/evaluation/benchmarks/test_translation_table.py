"""Translation benchmarks: how each names its files, and any pair of languages."""

import json

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.benchmark import read_examples
from nmt5.evaluation.benchmarks.flores_codes import FLORES_200, FLORES_PLUS, RENAMED
from nmt5.evaluation.benchmarks.regimes import plan
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.benchmarks.translation_table import moses_benchmark


@pytest.fixture
def write(tmp_path):
    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def pairs(row, directory, language, split):
    found = read_examples(row, directory, language=language, split=split)
    return [(one.inputs, one.targets) for one in found]


def jsonl(*texts):
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(texts)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("german", "chinese", "form"),
    [
        ("devtest/deu_Latn.devtest", "devtest/zho_Hant.devtest", "{}\n"),  # FLORES-200
        ("devtest/devtest.deu_Latn", "devtest/devtest.cmn_Hant", "{}\n"),  # FLORES+ releases
        ("devtest/deu_Latn.jsonl", "devtest/cmn_Hant.jsonl", '{{"id": 1, "text": "{}"}}\n'),  # hub
    ],
)
def test_flores_in_each_of_its_forms(write, german, chinese, form):
    directory = write({german: form.format("Tag"), chinese: form.format("日")})
    row = BENCHMARKS["flores"]
    assert pairs(row, directory, "deu_Latn_to_zho_Hant", "test") == [("<2zh-Hant> Tag", "日")]
    assert row.answer_language("zho_Hant_to_deu_Latn") == "de"


def test_ids_of_flores_plus_must_be_the_same(write):
    a, b = "dev/deu_Latn.jsonl", "dev/fra_Latn.jsonl"
    row = BENCHMARKS["flores"]
    shifted = jsonl("x", "y", "z").splitlines(keepends=True)[1:]
    directory = write({a: jsonl("a", "b"), b: "".join(shifted)})
    with pytest.raises(DataError, match=r"ids \['0', '2'\] are in one of them only, 2 in all"):
        pairs(row, directory, "deu_Latn_to_fra_Latn", "validation")
    write({a: jsonl("a") * 2})
    with pytest.raises(DataError, match=r"deu_Latn.jsonl: line 2: id 0 occurs twice"):
        pairs(row, directory, "deu_Latn_to_fra_Latn", "validation")


def test_codes_of_flores():
    assert len(FLORES_200) == 204
    assert set(RENAMED) <= set(FLORES_200) and set(RENAMED.values()) <= set(FLORES_PLUS)
    assert not set(FLORES_200) & set(FLORES_PLUS)
    # Two of one benchmark that the model is told alike would be one target with two texts.
    texts = list(FLORES_200.values())
    assert len(set(texts)) == len(texts)


def test_any_pair_of_ntrex(write):
    directory = write({f"newstest2019-ref.{one}.txt": f"{one}\n" for one in ("deu", "aze-Latn")})
    row = BENCHMARKS["ntrex"]
    assert pairs(row, directory, "deu_to_aze-Latn", "test") == [("<2az> deu", "aze-Latn")]
    assert "deu_to_aze-Latn" not in row.languages  # evaluated only if it is named
    write({"newstest2019-src.eng.txt": "Hi\n"})
    assert pairs(row, directory, "eng_to_deu", "test") == [("<2de> Hi", "deu")]
    for wrong, message in (
        ("deu_to_fraa", "unknown language 'fraa'; nearest: 'fra'"),
        ("deu_to_deu", "unknown language 'deu_to_deu'"),
        ("deu", "unknown language 'deu'"),
    ):
        with pytest.raises(DataError, match=message):
            row.check(language=wrong, split="test")


def test_opus100_as_its_archives_unpack(write):
    row = BENCHMARKS["opus100"]
    start = "supervised/en-he/opus.en-he-dev"
    directory = write({f"{start}.en": "Day\n", f"{start}.he": "יום\n"})
    assert pairs(row, directory, "en_to_he", "validation") == [("<2iw> Day", "יום")]
    start = "zero-shot/ar-de/opus.ar-de-test"
    write({f"{start}.ar": "يوم\n", f"{start}.de": "Tag\n"})
    assert pairs(row, directory, "de_to_ar", "test") == [("<2ar> Tag", "يوم")]
    found = plan(row, "multilingual")
    assert len(found.train) == len(found.selection) == 188
    assert len(found.test) == 218
    assert "de_to_ar" not in {part.language for part in found.train}


def test_own_files_in_both_directions(write):
    directory = write({"opus.en-fr-dev.en": "a\n", "opus.en-fr-dev.fr": "b\n"})
    row = moses_benchmark(
        "own",
        pairs=(("en", "fr"), ("fr", "en")),
        files={"validation": "opus.{low}-{high}-dev.{side}"},
    )
    found = [pairs(row, directory, language, "validation") for language in row.languages]
    assert found == [[("<2fr> a", "b")], [("<2en> b", "a")]]
    assert row.train_languages == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": ()}, r"no pair; give \(\('de', 'fr'\), ...\)"),
        ({"pairs": (("de", "de"),)}, "no pair of two languages"),
        ({"files": {"tests": "x.{side}"}}, "unknown split 'tests'; nearest: 'test'"),
        ({"files": {"test": "x.de"}}, "x.de: expected '{side}' where"),
        ({"files": {"test": "x.{lang}.{side}"}}, "names in braces are side, low and high, found"),
    ],
)
def test_what_is_wrong_with_own_files(settings, message):
    given = {"pairs": (("de", "fr"),), "files": {"test": "x.{side}"}} | settings
    with pytest.raises(ConfigError, match=message):
        moses_benchmark("own", **given)
