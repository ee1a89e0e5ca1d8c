import importlib
import math

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.scores.by_name import find_metric
from nmt5.evaluation.scores.counted import compare, score
from nmt5.evaluation.scores.entities import ENTITIES_MT5, entities
from nmt5.evaluation.scores.labels import PARSE_MATCH, class_accuracy, normal_space, tag_accuracy
from nmt5.evaluation.scores.language_tokens import language_tokens
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.scores.question_answering import (
    MLQA,
    QUESTION_TOKENS,
    SQUAD,
    mlqa_tokens,
    squad_tokens,
)
from nmt5.evaluation.scores.rouge_l import ROUGE_L
from nmt5.evaluation.scores.scripts import scripts_of_language, scripts_of_text


def values(metric, predictions, references, *, language="en"):
    scores = score(metric, predictions, references=references, language=language, num_draws=0)
    return {name: round(one.value, 3) for name, one in scores.items()}


class TestLanguageTokens:
    @pytest.mark.parametrize(
        ("text", "language", "tokens"),
        [
            ("北京2008年", "zh", ["北", "京", "2008", "年"]),
            ("２００８（年）", "zh", ["2008", "年"]),
            ("กำลัง ที่", "th", ["ก\u0e4d", "า", "ล\u0e31", "ง", "ท\u0e35\u0e48"]),
            ("スーパー々", "ja", ["ス", "ー", "パ", "ー", "々"]),
            ("हिन्दी भाषा।", "hi", ["हिन्दी", "भाषा"]),
            ("서울특별시 강남구", "ko", ["서울특별시", "강남구"]),
            ("Die Straße", "de", ["strasse"]),
            ("Die Straße", "en", ["die", "strasse"]),
            ("الكتاب", "ar", ["كتاب"]),
            ("l'été", "fr", ["l", "été"]),
            ("%", "en", ["%"]),
            ("The", "en", ["t", "h", "e"]),
            ("", "en", []),
        ],
    )
    def test_worked_examples(self, text, language, tokens):
        assert language_tokens(text, language=language) == tokens

    def test_padding_and_width_do_not_matter(self):
        assert language_tokens("3 , 5 ％", language="zh") == language_tokens("3,5%", language="zh")


class TestQuestions:
    def test_near_miss_without_spaces(self):
        references = [["北京市"]]
        assert values(SQUAD, ["北京"], references, language="zh") == {"em": 0, "f1": 0}
        assert values(QUESTION_TOKENS, ["北京"], references, language="zh")["f1_tokens"] == 80
        assert values(MLQA, ["北京"], references, language="zh") == {"mlqa_em": 0, "mlqa_f1": 80}

    def test_best_reference_counts(self):
        found = values(SQUAD, ["the cat", "x y"], [["dog", "A cat."], ["x", "y z y"]])
        assert found == {"em": 50.0, "f1": round((1 + 2 / 3) / 2 * 100, 3)}

    def test_an_answer_of_articles_or_signs_can_be_right(self):
        assert values(SQUAD, ["The"], [["the"]]) == {"em": 100, "f1": 100}
        assert values(QUESTION_TOKENS, ["%", "$"], [["%"], ["%"]])["em_tokens"] == 50

    def test_squad_equals_t5(self):
        qa_utils = importlib.import_module("t5.evaluation.qa_utils")
        texts = ["The 3,5 km!", "ÉTÉ an", "北京 市。", "x x y", "", "a-b  c", "y x"]
        for text in texts:
            assert squad_tokens(text, "en") == qa_utils.normalize_squad(text).split()
        references = [["x y", "3 5 km"], ["été"], ["北京"], ["x y y"], ["z"], ["ab c"], ["y", "x"]]
        expected = qa_utils.qa_metrics(
            [[qa_utils.normalize_squad(r) for r in some] for some in references],
            [qa_utils.normalize_squad(text) for text in texts],
        )
        found = values(SQUAD, texts, references)
        assert found == {name: round(float(value), 3) for name, value in expected.items()}

    def test_mlqa_knows_seven_languages(self):
        with pytest.raises(ConfigError, match="mlqa: unknown language 'fi'"):
            score(MLQA, ["a"], references=[["a"]], language="fi")

    def test_mlqa_drops_each_languages_words(self):
        assert mlqa_tokens("những con mèo", "vi") == ["con", "mèo"]
        assert mlqa_tokens("El «gato»", "es") == ["gato"]
        assert mlqa_tokens("यह।", "hi") == ["यह"]


class TestEntities:
    def test_exact_decoding_against_mt5s(self):
        # mt5 loses the entity with a colon on both sides, so a model that ignores it scores 100.
        gold, guess = ["ORG: A: B $$ PER: c"], ["PER: c"]
        assert values(ENTITIES_MT5, guess, [gold])["span_f1_mt5"] == 100
        found = values(entities(("ORG", "PER")), guess, [gold])
        assert found["span_f1"] == round(200 / 3, 3)
        assert found["span_recall"] == 50

    def test_duplicates_count_as_often_as_they_occur(self):
        found = values(entities(None), ["PER: a"], [["PER: a $$ PER: a"]])
        assert (found["span_precision"], found["span_recall"]) == (100, 50)

    def test_what_cannot_be_read_is_wrong_and_counted(self):
        found = values(entities(("PER",)), ["PER: a $$ b", "PER: c"], [["PER: a"], ["PER: c"]])
        assert (found["span_precision"], found["unparseable"]) == (round(200 / 3, 3), 50)

    def test_nothing_to_find_and_nothing_found(self):
        assert values(entities(None), ["", ""], [[""], [""]])["span_f1"] == 100
        assert values(entities(None), ["PER: a"], [[""]])["span_f1"] == 0

    def test_width_does_not_matter(self):
        assert values(entities(None), ["ORG: ABC"], [["ORG: ＡＢＣ"]])["span_f1"] == 100

    def test_mt5_reading_of_malformed_parts(self):
        text = "PER: a $$ LOC:b $$ c $$ X: y: z"
        found = values(ENTITIES_MT5, [text], [["PER: a $$ LOC: b $$ ORG: d"]])
        assert found["span_f1_mt5"] == 80  # 2 right, 2 predicted, 3 gold


def test_class_accuracy_counts_what_is_no_class():
    found = values(class_accuracy(("0", "1")), ["0", " 1\n", "2", ""], [["0"], ["0"], ["1"], ["1"]])
    assert values(class_accuracy(("0", "1")), ["1"], [["0", "1"]])["accuracy"] == 100.0
    assert found == {"accuracy": 25, "unparseable": 50}


def test_tag_accuracy_by_token():
    metric = tag_accuracy(("N", "V"))
    found = values(metric, ["N V", "N", "N"], [["N N"], ["N N"], ["N"]])
    assert found == {"token_accuracy": 40, "unparseable": round(100 / 3, 3)}


def test_parses_match_whatever_the_white_space():
    gold = "[IN:A [SL:B me ] ]"
    found = values(PARSE_MATCH, ["[IN:A [SL:B  me]]", "[IN:A [SL:B Me ] ]"], [[gold], [gold]])
    assert found == {"exact_match": 50}
    # Thai SARA AM, as the vocabulary's NFKC rewrites it.
    assert normal_space("ทำ") == normal_space("ท\u0e4d\u0e32")


class TestRougeL:
    def test_other_scripts(self):
        texts = ["Кошка сидит на ковре", "猫坐在垫子上", "แมวนั่งบนพรม", "बिल्ली बैठी है"]
        for text, language in zip(texts, ["ru", "zh", "th", "hi"], strict=True):
            assert values(ROUGE_L, [text], [[text]], language=language) == {"rouge_l": 100}
            assert values(ROUGE_L, [text[::-1]], [[text]], language=language)["rouge_l"] < 100

    def test_english_is_the_published_score(self):
        rouge_scorer = importlib.import_module("rouge_score.rouge_scorer")
        pair = "The cat's mat, 3 km.", "a cat sat on 3 mats"
        expected = rouge_scorer.RougeScorer(["rougeL"]).score(pair[1], pair[0])["rougeL"].fmeasure
        found = values(ROUGE_L, [pair[0]], [[pair[1]]])
        assert found["rouge_l"] == pytest.approx(100 * expected, abs=1e-3)
        assert values(ROUGE_L, [pair[0]], [["x", pair[0]]]) == {"rouge_l": 100}


class TestFaults:
    def test_shares(self):
        found = values(
            OUTPUT_FAULTS,
            ["", "<extra_id_0> 北京", "Beijing", "", "IBM"],
            [["北京"], ["北京"], ["北京"], [""], ["IBM"]],
            language="zh",
        )
        assert found == {"empty": 20, "sentinels": 20, "wrong_script": 20}

    def test_scripts(self):
        assert scripts_of_language("sr-Latn") == ("LATIN",)
        assert scripts_of_language("zh_gsdsimp") == ("CJK",)
        assert scripts_of_text("Ａb я 3!") == {"LATIN": 2, "CYRILLIC": 1}


def test_metrics_by_name():
    assert find_metric("squad") is SQUAD
    with pytest.raises(ConfigError, match="unknown metric 'rougel'; nearest: 'rouge_l'"):
        find_metric("rougel")


class TestIntervals:
    def test_intervals_hold_the_score_and_shrink_with_examples(self):
        widths = []
        for number in (40, 4000):
            predictions = ["1" if i % 4 else "0" for i in range(number)]
            metric = class_accuracy(("0", "1"))
            found = score(metric, predictions, references=[["1"]] * number, language="en")
            one = found["accuracy"]
            assert one.low <= one.value == 75 <= one.high
            widths.append(one.high - one.low)
        assert widths[0] > 5 * widths[1]

    def test_comparison_is_paired(self):
        references = [["1"]] * 200
        first = ["1" if i % 2 else "0" for i in range(200)]
        second = ["0" if i == 7 else text for i, text in enumerate(first)]
        settings = {"references": references, "language": "en"}
        metric = class_accuracy(("0", "1"))
        same = compare(metric, first, second=first, **settings)["accuracy"]
        assert (same.value, same.low, same.high) == (0, 0, 0)
        close = compare(metric, first, second=second, **settings)["accuracy"]
        assert close.value == -0.5
        assert close.p_value > 0.05
        worse = compare(metric, first, second=["0"] * 200, **settings)["accuracy"]
        assert worse.p_value < 0.01

    def test_without_draws_there_is_no_interval(self):
        one = score(SQUAD, ["a"], references=[["b"]], language="en", num_draws=0)["f1"]
        assert one.value == 0
        assert math.isnan(one.low)

    def test_numbers_of_predictions_must_agree(self):
        with pytest.raises(DataError, match="squad: 1 predictions for 2 examples"):
            score(SQUAD, ["a"], references=[["a"], ["b"]], language="en")
        with pytest.raises(DataError, match="no examples to score; the split is empty"):
            score(SQUAD, [], references=[], language="en")

    def test_scores_are_plain_numbers(self):
        found = score(SQUAD, ["a"], references=[["b"]], language="en")["f1"]
        assert all(type(number) is float for number in found.to_json().values())
        assert not isinstance(found.value, np.generic)
