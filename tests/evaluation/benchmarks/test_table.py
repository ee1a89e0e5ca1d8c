import dataclasses
import json

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.benchmark import read_examples
from nmt5.evaluation.benchmarks.regimes import few, plan, settings_of, take
from nmt5.evaluation.benchmarks.table import BENCHMARKS, benchmark
from nmt5.evaluation.text_metrics import METRICS
from nmt5.evaluation.text_to_answer.text_example import one_answer

# name: number of languages, main score, settings. A new benchmark is one line here.
ROWS = {
    "squad": (1, "f1", "zeroshot in_language few_shot"),
    "xquad": (12, "f1", "zeroshot translate_train few_shot"),
    "mlqa": (9, "mlqa_f1", "zeroshot translate_train few_shot"),
    "tydiqa_goldp": (
        *(9, "f1"),
        "zeroshot translate_train in_language multilingual few_shot large_data",
    ),
    "afriqa": (7, "f1", "zeroshot in_language multilingual few_shot"),
    "multi_nli": (1, "accuracy", ""),
    "xnli": (15, "accuracy", "zeroshot translate_train few_shot"),
    "farstail": (1, "accuracy", "zeroshot in_language few_shot"),
    "pawsx": (7, "accuracy", "zeroshot translate_train in_language few_shot"),
    "copa": (1, "accuracy", "zeroshot in_language few_shot"),
    "xcopa": (11, "accuracy", "zeroshot few_shot"),
    "wikiann_ner": (40, "span_f1", "zeroshot in_language multilingual few_shot"),
    "wikiann_ner_unseen": (30, "span_f1", "zeroshot few_shot"),
    "uner": (10, "span_f1", "zeroshot in_language multilingual few_shot"),
    "ud_pos": (17, "token_accuracy", "zeroshot in_language few_shot"),
    "xsid_intent": (12, "accuracy", "zeroshot in_language few_shot"),
    "xsid_slots": (12, "span_f1", "zeroshot in_language few_shot"),
    "mtop": (6, "exact_match", "zeroshot in_language multilingual few_shot"),
    "wikilingua": (18, "rouge_l", "in_language multilingual"),
    "ntrex": (148, "chrf++", ""),
    "flores": (406, "chrf++", ""),
    "opus100": (218, "chrf++", "in_language multilingual"),
}


def test_the_table():
    found = {
        name: (len(row.languages), row.main_score, " ".join(settings_of(row)))
        for name, row in BENCHMARKS.items()
    }
    assert found == ROWS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_row_is_consistent(name):
    row = BENCHMARKS[name]
    assert len(set(row.languages)) == len(row.languages)
    assert set(row.train_languages) | set(row.validation_languages) <= set(row.languages)
    assert bool(row.train_languages) == ("train" in row.splits) or name == "wikiann_ner_unseen"
    assert set(row.text_metrics) <= set(METRICS)
    for split, alternatives in row.splits.items():
        for language in row.languages:
            for files in alternatives:
                for pattern in (*files.names, *files.settings.values()):
                    assert "{" not in row.fill(pattern, language=language, split=split)
    for setting in settings_of(row):
        language = row.train_languages[0] if setting == "in_language" else None
        found = plan(row, setting, language=language)
        for part in (*found.train, *found.selection, *found.test):
            BENCHMARKS[part.benchmark].check(language=part.language, split=part.split)
        for part in found.train:
            if part.split == "train":
                assert part.language in BENCHMARKS[part.benchmark].train_languages


def test_plans():
    zeroshot = plan(BENCHMARKS["xquad"], "zeroshot")
    assert [(part.benchmark, part.language) for part in zeroshot.train] == [("squad", "en")]
    assert len(zeroshot.test) == 12
    assert not plan(BENCHMARKS["mtop"], "zeroshot").selected_on_test
    tydi = plan(BENCHMARKS["tydiqa_goldp"], "few_shot", selection="english", seed=3)
    assert (tydi.train[0].limit, tydi.train[0].seed, tydi.selected_on_test) == (100, 3, True)
    assert [part.language for part in tydi.selection] == ["en"]
    uner = plan(BENCHMARKS["uner"], "zeroshot", selection="english")
    assert [(part.language, part.split) for part in uner.selection] == [("en_ewt", "validation")]
    portuguese = plan(BENCHMARKS["uner"], "in_language", language="pt_bosque")
    assert {part.language for part in (*portuguese.train, *portuguese.test)} == {"pt_bosque"}
    across = plan(BENCHMARKS["uner"], "zeroshot", language="pt_bosque", selection="english")
    assert [part.language for part in (*across.train, *across.selection)] == ["pt_bosque"] * 2
    assert len(across.test) == 10
    few_of = plan(BENCHMARKS["uner"], "few_shot", language="pt_bosque").train[0]
    assert (few_of.language, few_of.limit) == ("pt_bosque", 100)
    with pytest.raises(ConfigError, match="unknown language with training data 'pt_pud'"):
        plan(BENCHMARKS["uner"], "zeroshot", language="pt_pud")
    with pytest.raises(ConfigError, match="other settings take none"):
        plan(BENCHMARKS["uner"], "multilingual", language="pt_bosque")
    translated = plan(BENCHMARKS["tydiqa_goldp"], "translate_train").train
    assert len(translated) == 9
    assert ("en", "train") in {(part.language, part.split) for part in translated}


def test_english_of_another_benchmark_chooses_where_there_is_no_own():
    def chosen_on(name, selection):
        found = plan(BENCHMARKS[name], "zeroshot", selection=selection)
        assert not found.selected_on_test
        return {(part.benchmark, part.language, part.split) for part in found.selection}

    for selection in ("all_languages", "english"):  # XQuAD has a test split only
        assert chosen_on("xquad", selection) == {("squad", "en", "validation")}
    assert chosen_on("xcopa", "english") == {("copa", "en", "validation")}
    assert len(chosen_on("xcopa", "all_languages")) == 11
    assert chosen_on("wikiann_ner_unseen", "english") == {("wikiann_ner", "en", "validation")}


def test_mlqa_trains_on_the_translations_of_xquad():
    found = plan(BENCHMARKS["mlqa"], "translate_train").train
    assert [(part.benchmark, part.language, part.split) for part in found] == [
        ("squad", "en", "train"),
        *(
            ("xquad", language, "translate_train")
            for language in ("ar", "de", "es", "hi", "vi", "zh")
        ),
    ]


def test_xcopa_trains_on_copa(tmp_path):
    texts = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause"}
    (tmp_path / "train.jsonl").write_text(json.dumps(texts | {"label": 1, "idx": 0}))
    (part,) = plan(BENCHMARKS["xcopa"], "zeroshot").train
    row = benchmark(part.benchmark)
    (one,) = read_examples(row, tmp_path, language=part.language, split=part.split)
    assert (one.inputs[:6], one.targets) == ("copa c", "choice2")


def test_examples_held_out_are_not_trained_on():
    found = plan(BENCHMARKS["tydiqa_goldp"], "zeroshot", selection="held_out_english")
    (train,), (chosen_on,) = found.train, found.selection
    assert not found.selected_on_test
    examples = [one_answer(str(i), f"x{i}", "y") for i in range(1000)]
    trained = {one.id for one in take(examples, part=train)}
    held_out = {one.id for one in take(reversed(examples), part=chosen_on)}
    assert (len(trained), len(held_out), trained & held_out) == (600, 400, set())
    assert list(take(examples, part=dataclasses.replace(train, held_out=0))) == examples
    with pytest.raises(DataError, match="400 examples, which leaves none after 400 held out"):
        next(take(examples[:400], part=train))
    with pytest.raises(ConfigError, match="does not train on all English examples"):
        plan(BENCHMARKS["tydiqa_goldp"], "large_data", selection="held_out_english")


def test_faults_of_plans():
    with pytest.raises(ConfigError, match="mtop: unknown setting 'zero_shot'; nearest: 'zeroshot'"):
        plan(BENCHMARKS["mtop"], "zero_shot")
    with pytest.raises(ConfigError, match="unknown selection 'englisch'; nearest: 'english'"):
        plan(BENCHMARKS["mtop"], "zeroshot", selection="englisch")
    with pytest.raises(ConfigError, match="'in_language' needs a language"):
        plan(BENCHMARKS["mtop"], "in_language")
    with pytest.raises(ConfigError, match="unknown language with training data 'sv_pud'"):
        plan(BENCHMARKS["uner"], "in_language", language="sv_pud")


def test_few_examples_are_the_same_for_a_seed_only():
    examples = [one_answer(str(i), f"x{i}", "y") for i in range(500)]
    some = few(examples, count=100, seed=1)
    assert some == few(reversed(examples), count=100, seed=1)
    assert len({one.id for one in some}) == 100
    assert some != few(examples, count=100, seed=2)


def test_unknown_names_have_the_nearest():
    with pytest.raises(ConfigError, match="unknown benchmark 'xquadd'; nearest: 'xquad'"):
        benchmark("xquadd")
    with pytest.raises(DataError, match="xquad: unknown split 'tests'; nearest: 'test'"):
        next(read_examples(benchmark("xquad"), "nowhere", language="en", split="tests"))
    with pytest.raises(DataError, match="xquad: unknown language 'fr'"):
        next(read_examples(benchmark("xquad"), "nowhere", language="fr", split="test"))
    with pytest.raises(DataError, match=r"no file; looked for .*xquad\.en\.json; set the"):
        next(read_examples(benchmark("xquad"), "nowhere", language="en", split="test"))


def test_an_empty_split_is_an_error(tmp_path):
    (tmp_path / "xquad.en.json").write_text('{"data": []}')
    with pytest.raises(DataError, match=r"split 'test': no examples in .*xquad\.en\.json"):
        list(read_examples(benchmark("xquad"), tmp_path, language="en", split="test"))
    (tmp_path / "xnli.dev.tsv").write_text(
        "language\tgold_label\tsentence1\tsentence2\nfr\tneutral\ta\tb\n"
    )
    with pytest.raises(DataError, match=r"xnli\.dev\.tsv \(1 other language\)"):
        list(read_examples(benchmark("xnli"), tmp_path, language="de", split="validation"))


def test_one_file_with_all_languages_of_tydi(tmp_path):
    questions = [
        {"id": f"{name}-1", "question": "q", "answers": [{"text": "c", "answer_start": 0}]}
        for name in ("finnish", "english")
    ]
    content = {"data": [{"paragraphs": [{"context": "c", "qas": questions}]}]}
    (tmp_path / "tydiqa-goldp-v1.1-dev.json").write_text(json.dumps(content))
    row = benchmark("tydiqa_goldp")
    (one,) = read_examples(row, tmp_path, language="fi", split="validation")
    assert one.id == "finnish-1"


def test_wikilingua_from_files(tmp_path):
    english = {
        f"u{i}": {"s": {"document": f"long {i}", "summary": f"short {i}"}} for i in range(3500)
    }
    other = {
        f"v{i}": {
            "s": {
                "document": f"uzun {i}",
                "summary": "kısa",
                "english_url": f"u{i}",
                "english_section_name": "s",
            }
        }
        for i in range(2100)
    }
    (tmp_path / "english.json").write_text(json.dumps(english))
    (tmp_path / "turkish.json").write_text(json.dumps(other))
    row = benchmark("wikilingua")
    targets = {
        split: {
            language: {
                one.targets for one in read_examples(row, tmp_path, language=language, split=split)
            }
            for language in ("en", "tr")
        }
        for split in ("train", "validation", "test")
    }
    for split in ("validation", "test"):
        assert {len(found) for found in targets[split].values()} == {1000}
        assert not targets[split]["tr"] & targets["train"]["en"]
        assert not targets[split]["en"] & targets["train"]["tr"]
    assert not targets["test"]["tr"] & targets["validation"]["en"]
