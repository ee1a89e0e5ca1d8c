import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.scoring import (
    compare_predictions,
    prediction_line,
    read_predictions,
    score_predictions,
)
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.text_to_answer.text_example import one_answer

EXAMPLES = [one_answer(str(i), "tag: x", f"PER: name{i}") for i in range(60)]
GOLD = [one.targets for one in EXAMPLES]


def test_main_score_first_and_faults_last():
    found = score_predictions(
        BENCHMARKS["uner"],
        ["<extra_id_0>", "", *GOLD[2:]],
        examples=EXAMPLES,
        language="pt_pud",
        split="test",
    )
    assert list(found)[0] == "span_f1"
    assert list(found)[-3:] == ["empty", "sentinels", "wrong_script"]
    assert found["sentinels"].interval.value == found["empty"].interval.value == 100 / 60
    assert found["span_f1"].interval.value == pytest.approx(100 * 2 * 58 / (59 + 60))
    assert "|uner|language:pt_pud|split:test|n:60" in found["span_f1"].signature
    assert found["span_f1"].to_json()["num_examples"] == 60
    assert (found["unparseable"].count, found["empty"].count) == (1, 1)
    assert found["span_f1"].count is None


def test_translation_scores():
    texts = [f"Das ist der Satz Nummer {i}." for i in range(4)]
    examples = [one_answer(str(i), "x", text) for i, text in enumerate(texts)]
    found = score_predictions(
        BENCHMARKS["ntrex"], texts, examples=examples, language="eng_to_deu", split="test"
    )
    assert list(found)[:2] == ["chrf++", "bleu"]
    assert found["bleu"].interval.value == pytest.approx(100)
    difference = compare_predictions(
        BENCHMARKS["ntrex"], texts, second=texts, examples=examples, language="eng_to_deu"
    )
    assert difference.value == 0


def test_comparison_is_of_the_main_score():
    worse = ["", *GOLD[1:30], *["PER: x"] * 30]
    difference = compare_predictions(
        BENCHMARKS["uner"], GOLD, second=worse, examples=EXAMPLES, language="pt_pud"
    )
    assert difference.value < -40
    assert difference.p_value < 0.01


def test_numbers_must_agree():
    settings = {"language": "pt_pud", "split": "test"}
    with pytest.raises(DataError, match="uner: language 'pt_pud', split 'test': 1 predictions for"):
        score_predictions(BENCHMARKS["uner"], ["x"], examples=EXAMPLES, **settings)
    with pytest.raises(DataError, match="no examples to score"):
        score_predictions(BENCHMARKS["uner"], [], examples=[], **settings)


def test_prediction_files(tmp_path):
    texts = ["a\nb", "", "c\u2028d"]
    lines = [prediction_line(one, text) for one, text in zip(EXAMPLES, texts, strict=False)]
    (tmp_path / "p.jsonl").write_text("".join(lines), encoding="utf-8")
    assert read_predictions(tmp_path / "p.jsonl", expected=3) == texts
    (tmp_path / "p.txt").write_text("x\n\ny\n")
    assert read_predictions(tmp_path / "p.txt", expected=3) == ["x", "", "y"]
    with pytest.raises(DataError, match=r"p\.txt: 3 predictions, expected 4"):
        read_predictions(tmp_path / "p.txt", expected=4)
    (tmp_path / "q.jsonl").write_text('{"prediction": "a"}\n{"prediction": null}\n')
    with pytest.raises(DataError, match=r"q\.jsonl: line 2: prediction is NoneType"):
        read_predictions(tmp_path / "q.jsonl", expected=2)
