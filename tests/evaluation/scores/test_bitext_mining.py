import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.scores import bitext_mining
from nmt5.evaluation.scores.bitext_mining import mine, nearest, retrieval_accuracy

EYE = np.eye(4, dtype=np.float32)


def test_a_copy_of_the_right_sentence_is_right():
    vectors = EYE[[0, 1, 2]]
    settings = {"targets": ["a", "a", "b"], "right": [1, 0, 1]}
    assert retrieval_accuracy(vectors, vectors, **settings) == pytest.approx(200 / 3)


def test_nearest_is_by_cosine_whatever_the_block(monkeypatch):
    rng = np.random.default_rng(0)
    sources, targets = rng.normal(size=(11, 5)), rng.normal(size=(7, 5)) * 9
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    expected = (unit(sources) @ unit(targets).T).argmax(axis=1)
    monkeypatch.setattr(bitext_mining, "_BLOCK", 3)
    indices, cosines = nearest(sources, targets)
    assert indices.tolist() == expected.tolist()
    assert cosines.shape == (11,)


def test_the_best_threshold_parts_right_from_wrong_pairs():
    # Cosines of the nearest targets: 1.0 right, 0.9 right, 0.5 wrong.
    rows = [(1.0, 0), (0.9, 1), (0.5, 2)]
    sources = np.array([c * EYE[i] + np.sqrt(1 - c * c) * EYE[3] for c, i in rows])
    found = mine(sources, EYE[:3], pairs=[(0, 0), (1, 1)])
    assert (found.f1.value, found.threshold) == (100, pytest.approx(0.9))
    assert mine(sources, EYE[:3], pairs=[(0, 0), (1, 1)], threshold=0.95).recall.value == 50
    assert mine(sources, EYE[:3], pairs=[(0, 0), (1, 1)], threshold=0.2).f1.value == 80
    assert mine(sources, EYE[:3], pairs=[(0, 0)], threshold=1.1).f1.value == 0


def test_equal_cosines_are_mined_together():
    found = mine(EYE[[0, 1]], EYE[:3], pairs=[(0, 0)])
    assert (found.precision.value, found.recall.value) == (50, 100)


def test_a_threshold_cannot_part_equal_cosines():
    # Right, wrong, wrong at 1.0, right at 0.8: by rank the first alone looks as good as all four.
    sources = np.array([EYE[0], EYE[0], EYE[0], 0.8 * EYE[1] + 0.6 * EYE[3]])
    found = mine(sources, EYE[:2], pairs=[(0, 0), (3, 1)])
    assert (round(found.f1.value, 3), found.threshold) == (66.667, pytest.approx(0.8))


def test_intervals_are_over_source_sentences():
    """Of 400 sources 200 have a true pair, of which 150 are found among 180 mined."""
    sources, right, mined = np.arange(400), np.arange(400) < 150, np.arange(400) < 180
    targets = np.eye(2, dtype=np.float32)
    vectors = np.where(mined[:, None], targets[0], [0.6, 0.8]).astype(np.float32)
    true = [(int(i), 0) for i in sources[right]] + [(int(i), 1) for i in range(200, 250)]
    found = mine(vectors, targets[:1], pairs=true, threshold=0.9, num_draws=4000)
    assert found.precision.value == pytest.approx(100 * 150 / 180)
    assert found.recall.value == 75 and found.f1.value == pytest.approx(100 * 300 / 380)
    # Draws by hand, one source at a time, agree with the drawing of kinds.
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 400, (2000, 400))
    hits, guesses = right[drawn].sum(1), mined[drawn].sum(1)
    golds = hits + ((drawn >= 200) & (drawn < 250)).sum(1)
    low, high = np.quantile(200 * hits / (guesses + golds), [0.025, 0.975])
    assert found.f1.low == pytest.approx(low, abs=0.7)
    assert found.f1.high == pytest.approx(high, abs=0.7)


def test_faults():
    with pytest.raises(DataError, match="2 query vectors for 1 sentences"):
        retrieval_accuracy(EYE[:2], EYE, targets=["a"] * 4, right=[0])
    with pytest.raises(DataError, match="the split is empty"):
        nearest(EYE[:0], EYE)
    with pytest.raises(DataError, match="no true pairs"):
        mine(EYE, EYE, pairs=[])
    with pytest.raises(DataError, match="not finite"):
        nearest(EYE * np.nan, EYE)
