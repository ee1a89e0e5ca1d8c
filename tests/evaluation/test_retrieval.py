import json

import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation import retrieval


def test_worked_example():
    """Three messages; the second's translation lies nearest to the third message."""
    english = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    french = np.array([[2.0, 0, 0], [0, 1, 3], [0, 0, 1]])
    hits, chance = retrieval.nearest_hits(
        english, french, sources=["a", "b", "c"], targets=["x", "y", "z"]
    )
    assert hits.tolist() == [[1, 1], [1, 0], [1, 1]]  # from, to English
    assert chance == pytest.approx(1 / 3)


def test_equal_texts_are_all_right():
    """Both "b" and "c" are "y" in the other language: whichever is found is right."""
    english = np.eye(3)
    other = np.array([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]])
    hits, chance = retrieval.nearest_hits(
        english, other, sources=["a", "b", "c"], targets=["x", "y", "y"]
    )
    assert hits[:, 1].tolist() == [1, 1, 1]
    # "b" has no similarity with any translation: a three-way tie, of which two are right.
    assert hits[:, 0].tolist() == pytest.approx([1, 2 / 3, 1])
    assert chance == pytest.approx(5 / 9)


def test_vectors_that_are_all_alike_score_chance():
    same = np.ones((20, 4))
    names = [str(i) for i in range(20)]
    hits, chance = retrieval.nearest_hits(same, same, sources=names, targets=names)
    np.testing.assert_allclose(hits, 1 / 20)
    assert chance == pytest.approx(1 / 20)


def test_centring_takes_away_what_a_language_shares():
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(30, 8))
    names = [str(i) for i in range(30)]
    offset = 20 * meaning[3]  # all translations lean towards message 3
    settings = {"sources": names, "targets": names}
    plain, _ = retrieval.nearest_hits(meaning, meaning + offset, **settings)
    centred, _ = retrieval.nearest_hits(meaning, meaning + offset, centre=True, **settings)
    assert centred.mean() == 1.0 and plain.mean() < 0.6


def toy_messages(num=40, languages=("de", "fr")):
    """Every message in the first language, every second one in the others."""
    return {
        f"message {i}": {
            language: f"{language} {i}"
            for k, language in enumerate(languages)
            if k == 0 or i % 2 == 0
        }
        for i in range(num)
    }


def encoder(noise, seed=0):
    """Vectors that depend on the message's number, with noise."""

    def encode(texts):
        rng = np.random.default_rng(seed)
        vectors = {}
        for text in texts:
            number = int(text.split()[-1])
            base = np.random.default_rng(1000 + number).normal(size=16)
            vectors[text] = base + noise * rng.normal(size=16)
        return np.stack([vectors[text] for text in texts])

    return encode


def test_languages_have_their_own_candidates():
    found = retrieval.find_translations(encoder(0.0), messages=toy_messages())
    assert sorted(found.hits) == ["de", "fr"]
    assert np.isnan(found.hits["fr"]).all(axis=1).sum() == 20
    assert found.chance == {"de": pytest.approx(1 / 40), "fr": pytest.approx(1 / 20)}
    scores = retrieval.retrieval_scores(found, num_draws=50)
    assert scores.macro.value == 100 and scores.num_messages == {"de": 40, "fr": 20}
    assert scores.macro_chance == pytest.approx((2.5 + 5) / 2)


def test_scores_have_intervals_and_both_directions():
    found = retrieval.find_translations(encoder(1.0), messages=toy_messages())
    scores = retrieval.retrieval_scores(found, num_draws=300)
    for language, value in scores.languages.items():
        both = list(scores.directions[language].values())
        assert value.value == pytest.approx(np.mean(both))
        assert value.low < value.value < value.high
    mean = np.mean([value.value for value in scores.languages.values()])
    assert scores.macro.value == pytest.approx(mean)
    assert scores.macro.low < mean < scores.macro.high
    assert 5 < mean < 95


def test_a_better_model_is_told_from_a_worse_one():
    good = retrieval.find_translations(encoder(0.3), messages=toy_messages())
    bad = retrieval.find_translations(encoder(1.5), messages=toy_messages())
    macro, each = retrieval.compare_retrieval(bad, second=good, num_draws=300)
    wanted = (
        retrieval.retrieval_scores(good).macro.value - retrieval.retrieval_scores(bad).macro.value
    )
    assert macro.value == pytest.approx(wanted) and macro.low > 0 and macro.p_value < 0.01
    assert sorted(each) == ["de", "fr"]
    same, _ = retrieval.compare_retrieval(good, second=good, num_draws=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_hits_survive_json():
    found = retrieval.find_translations(encoder(1.0), messages=toy_messages())
    again = retrieval.Retrieval.from_json(json.loads(json.dumps(found.to_json())))
    assert again.messages == found.messages and again.chance == found.chance
    for language in found.hits:
        np.testing.assert_array_equal(again.hits[language], found.hits[language])


def test_bad_input_is_named():
    with pytest.raises(DataError, match="2 messages, but no language has 30 translations"):
        retrieval.find_translations(encoder(0), messages=toy_messages(2), min_messages=30)
    first = retrieval.find_translations(encoder(0), messages=toy_messages(10))
    second = retrieval.find_translations(encoder(0), messages=toy_messages(12))
    with pytest.raises(DataError, match="scored on different text"):
        retrieval.compare_retrieval(first, second=second)
