import numpy as np
import pytest
import sacrebleu

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.text_metrics import METRICS, accuracy, compare_texts, score_texts

REFERENCES = [
    "Das ist ein kleines Haus am See.",
    "Bitte geben Sie eine gültige Zahl ein.",
    "Dieses Feld darf nicht leer sein.",
    "Die Seite wurde nicht gefunden.",
    "vor 3 Tagen",
]
PREDICTIONS = [
    "Das ist ein Haus am kleinen See.",
    "Bitte geben Sie eine Zahl ein.",
    "Dieses Feld darf nicht leer sein.",
    "Seite nicht gefunden",
    "vor drei Tagen",
]


def score(metric, predictions=PREDICTIONS, references=REFERENCES, **settings):
    settings = {"language": "de", "num_draws": 200, "pieces": list} | settings
    return score_texts(predictions, references=references, metric=metric, **settings)


def test_values_are_sacrebleus():
    bleu = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES])
    chrf = sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES])
    chrf_words = sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES], word_order=2)
    intl = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES], tokenize="intl")
    assert score("bleu").interval.value == pytest.approx(bleu.score, rel=1e-9)
    assert score("chrf").interval.value == pytest.approx(chrf.score, rel=1e-9)
    assert score("chrf++").interval.value == pytest.approx(chrf_words.score, rel=1e-9)
    assert score("bleu", tokenizer="intl").interval.value == pytest.approx(intl.score, rel=1e-9)
    assert bleu.score != pytest.approx(chrf.score) != pytest.approx(chrf_words.score)


def test_draws_are_scores_of_the_drawn_sentences():
    """The interval of two sentences comes from three possible corpora."""
    predictions, references = PREDICTIONS[:2], REFERENCES[:2]
    possible = [
        sacrebleu.corpus_bleu([predictions[i], predictions[j]], [[references[i], references[j]]])
        for i, j in ((0, 0), (0, 1), (1, 1))
    ]
    found = score("bleu", predictions, references).interval
    scores = [p.score for p in possible]
    assert found.low == pytest.approx(min(scores)) and found.high == pytest.approx(max(scores))


@pytest.mark.parametrize("metric", METRICS)
def test_references_score_100_and_values_are_plain(metric):
    perfect = score(metric, REFERENCES).to_json()
    assert perfect["value"] == pytest.approx(100) and perfect["low"] == pytest.approx(100)
    found = score(metric).to_json()
    assert found["low"] <= found["value"] <= found["high"] < 100
    assert type(found["value"]) is type(found["low"]) is float and found["num_sentences"] == 5


def test_signatures_say_how_to_repeat_a_score():
    assert "bleu|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|" in score("bleu").signature
    assert "chrf|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|" in score("chrf").signature
    assert "nw:2" in score("chrf++").signature
    assert score("bleu").signature.endswith("|bootstrap:200,seed:0")
    assert "|tok:char|" in score("bleu", language="ja").signature
    assert "|tok:zh|" in score("bleu", language="zh-Hant").signature


def test_text_without_spaces_is_scored_by_character():
    references, predictions = ["请输入一个有效的数字。"], ["请输入有效的数字。"]
    by_word = score("bleu", predictions, references, language="de").interval.value
    by_character = score("bleu", predictions, references, language="zh").interval.value
    assert by_character > 50 > by_word


def test_a_better_system_is_told_from_a_worse_one():
    references = REFERENCES * 10
    found = compare_texts(
        PREDICTIONS * 10,
        second=REFERENCES * 10,
        references=references,
        metric="chrf",
        language="de",
        num_draws=200,
    )
    assert found.low > 0 and found.p_value < 0.02
    gap = score("chrf", REFERENCES).interval.value - score("chrf").interval.value
    assert found.value == pytest.approx(gap, rel=0.05)
    same = compare_texts(
        PREDICTIONS, second=PREDICTIONS, references=REFERENCES, metric="bleu", language="de"
    )
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_all_of_several_references_count():
    """As sacrebleu's streams, in which sentences may have unequal numbers of references."""
    several = [(right, wrong) for right, wrong in zip(REFERENCES, PREDICTIONS, strict=True)]
    several[0] = several[0][:1]
    streams = [list(REFERENCES), [None, *PREDICTIONS[1:]]]
    bleu = sacrebleu.corpus_bleu(PREDICTIONS, streams).score
    chrf = sacrebleu.corpus_chrf(PREDICTIONS, streams).score
    assert score("bleu", references=several).interval.value == pytest.approx(bleu, rel=1e-9)
    assert score("chrf", references=several).interval.value == pytest.approx(chrf, rel=1e-9)
    assert score("exact_match", references=several).interval.value == 80
    assert score("spbleu", references=several).interval.value > score("spbleu").interval.value + 9
    assert "nrefs:var" in score("bleu", references=several).signature


def test_accuracy_counts_equal_pairs():
    assert accuracy([1, 2, 3, 4], references=[1, 2, 0, 4]) == 75.0


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="unknown metric 'blue'; nearest: 'bleu'"):
        score("blue")
    with pytest.raises(ConfigError, match="unknown BLEU tokenizer 'itnl'; nearest: 'intl'"):
        score("bleu", tokenizer="itnl")
    with pytest.raises(DataError, match="4 predictions for 5 references"):
        score("chrf", PREDICTIONS[:4])
    with pytest.raises(DataError, match="no sentences to score"):
        score("bleu", [], [])
    assert np.isfinite(score("bleu", [""], ["Haus"]).interval.value)


def test_bleu_over_pieces_needs_a_vocabulary_and_sees_text_without_spaces():
    first, second = ["我们今天去学校上课吧"], ["我们今天去学校看书吧"]
    settings = {"metric": "spbleu", "language": "zh", "num_draws": 2}
    found = score_texts(first, references=second, pieces=list, **settings)
    expected = sacrebleu.corpus_bleu([" ".join(first[0])], [[" ".join(second[0])]], tokenize="none")
    assert found.interval.value == pytest.approx(expected.score, rel=1e-9)
    assert 40 < found.interval.value < 80 and "pieces:given" in found.signature
    with pytest.raises(ConfigError, match="set Workspace.vocabulary"):
        score_texts(first, references=second, **settings)
