"""Settings of mixtures become weights of tasks: counts, temperatures, Sinkhorn, caps, shares."""

import itertools

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.corpus_sizes import CorpusSize
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.sinkhorn import language_marginals, pair_table
from nmt5.data.sources.base import Corpus
from nmt5.data.task_weights import task_weights

SIX = ("cs", "de", "en", "es", "fr", "ru")


@pytest.fixture
def directions(list_source):
    """Returns a function from `{(language, language): examples}` to tasks and their sizes."""

    def make(counts, *, one_way=()):
        tasks, sizes = [], {}
        for (a, b), number in counts.items():
            corpus = Corpus(name=f"{a}-{b}", source=list_source((a, b), ()))
            for pair in ((a, b), (b, a)):
                if pair in one_way:
                    continue
                name = "-".join(pair)
                tasks.append(
                    TaskDefinition(name=name, corpus=corpus, objective="nmt", languages=pair)
                )
                sizes[name] = CorpusSize(examples=number, tokens=dict.fromkeys(pair, 10 * number))
        return tuple(tasks), sizes

    return make


def weigh(tasks, sizes, **settings):
    definition = MixtureDefinition(name="x", tasks=tasks, **settings)
    return task_weights(
        definition,
        sizes=sizes,
        tokens_per_example=dict.fromkeys(sizes, 12.0),
        inputs_per_text_token={},
    )


def counts_of_six():
    rng = np.random.default_rng(0)
    return {pair: int(10 ** rng.uniform(4, 6)) for pair in itertools.combinations(SIX, 2)}


def by_language(weights):
    totals = dict.fromkeys(SIX, 0.0)
    for name, weight in weights.items():
        for language in name.split("-"):
            totals[language] += weight / 2
    return np.array([totals[language] for language in SIX])


@pytest.mark.parametrize("sampling", ["sinkhorn", "sinkhorn_entropic"])
def test_sinkhorn_gives_languages_their_marginals(directions, sampling):
    counts = counts_of_six()
    tasks, sizes = directions(counts)
    found = weigh(tasks, sizes, sampling=sampling, temperature=1.5)
    weights = found.weights["nmt"]
    _, table = pair_table(counts)
    marginals = language_marginals(table, temperature=1.5)
    np.testing.assert_allclose(by_language(weights), marginals, atol=1e-6 + found_lost(found))
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["en-fr"] == pytest.approx(weights["fr-en"])
    sparse = sum(weight == 0 for weight in weights.values())
    assert (sparse > 10) == (sampling == "sinkhorn")
    assert set(found.removed_mass["nmt"]) == set(SIX)


def found_lost(found):
    return max(found.removed_mass["nmt"].values())


def test_given_counts_replace_the_stores(directions):
    tasks, sizes = directions(counts_of_six())
    even = dict.fromkeys(("-".join(pair) for pair in counts_of_six()), 5.0)
    found = weigh(tasks, sizes, alpha=1.0, counts=even).weights["nmt"]
    assert list(found.values()) == pytest.approx([1 / 30] * 30)
    skewed = weigh(tasks, sizes, alpha=1.0, counts=even | {"de-en": 10.0}).weights["nmt"]
    assert skewed["en-de"] == pytest.approx(2 * skewed["en-fr"])


def test_a_pair_that_the_table_lacks_is_named(directions):
    tasks, sizes = directions(counts_of_six())
    counts = dict.fromkeys(("-".join(pair) for pair in counts_of_six()), 5.0)
    del counts["en-fr"]
    counts["de-ru"] = 0.0
    for sampling in ("alpha", "sinkhorn"):
        with pytest.raises(DataError, match="no text of 4 of its pairs: de-ru, en-fr, fr-en, ru-d"):
            weigh(tasks, sizes, counts=counts, sampling=sampling)
    # A table of languages says nothing of pairs.
    assert weigh(tasks, sizes, counts={"fr": 3.0}) == weigh(tasks, sizes)


def test_temperature_is_one_over_alpha(directions):
    tasks, sizes = directions(counts_of_six())
    assert weigh(tasks, sizes, temperature=4.0) == weigh(tasks, sizes, alpha=0.25)
    assert weigh(tasks, sizes) == weigh(tasks, sizes, alpha=0.3)


def test_english_centric_tables_want_alpha(directions):
    tasks, sizes = directions({("en", other): 10**i for i, other in enumerate(SIX[3:], 2)})
    for sampling in ("sinkhorn", "sinkhorn_entropic"):
        with pytest.raises(DataError, match=r"cannot meet the shares of .*use alpha sampling"):
            weigh(tasks, sizes, sampling=sampling, temperature=5)
    assert sum(weigh(tasks, sizes, alpha=0.2).weights["nmt"].values()) == pytest.approx(1)


def test_directions_without_a_task_are_named(directions):
    tasks, sizes = directions(counts_of_six(), one_way={("fr", "en"), ("de", "en")})
    with pytest.raises(DataError, match=r"2 directions that have no task: de-en, fr-en"):
        weigh(tasks, sizes, sampling="sinkhorn_entropic", temperature=1.2)


def test_unimax_shares_alike_up_to_the_cap(directions):
    tasks, sizes = directions({("en", "fr"): 10, ("de", "en"): 1000, ("en", "ru"): 1000})
    # 6 directions; 12 encoder tokens an example; the run draws 2 x 10 x 12 x 2 of en-fr at most.
    found = weigh(tasks, sizes, sampling="unimax", max_epochs=2, budget_tokens=12_000).weights
    total = sum(found["nmt"].values())
    assert found["nmt"]["en-fr"] / total == pytest.approx(2 * 10 * 12 / 12_000)
    assert found["nmt"]["de-en"] / total == pytest.approx((1 - 2 * 0.02) / 4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sampling": "sinkhron"}, "unknown sampling 'sinkhron'; nearest: 'sinkhorn'"),
        ({"sampling": "unimax"}, "'unimax' needs max_epochs and budget_tokens"),
        ({"alpha": 0.5, "temperature": 2.0}, "give one, alpha is 1 / temperature"),
        ({"temperature": 0.5}, "temperature 0.5, expected at least 1"),
        ({"sampling": "sinkhorn", "alpha": 0.0}, "alpha 0 with sampling 'sinkhorn'"),
        ({"shares": {"nmt": 0.5}}, r"expected one for each of \['nmt'\], in all 1"),
        ({"shares": {"mlm": 1.0}}, "expected one for each"),
        ({"rates": {"en-fr": 0.0, "fr-en": 1.0}}, "1 of 2 tasks have no positive rate: en-fr"),
    ],
)
def test_settings_that_cannot_be(directions, settings, message):
    tasks, _ = directions({("en", "fr"): 10})
    with pytest.raises(ConfigError, match=message):
        MixtureDefinition(name="x", tasks=tasks, **settings)


def test_a_task_listed_twice_is_named(directions):
    tasks, _ = directions({("en", "fr"): 10})
    with pytest.raises(ConfigError, match="tasks listed twice: en-fr"):
        MixtureDefinition(name="x", tasks=(*tasks, tasks[0]))
