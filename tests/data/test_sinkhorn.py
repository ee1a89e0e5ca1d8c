"""Marginals hold, mass without text is an error that names languages, plans on small tables."""

from pathlib import Path

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sinkhorn import (
    entropic_plan,
    language_marginals,
    pair_sampling,
    pair_table,
    transport_plan,
)


@st.composite
def dense_counts(draw):
    size = draw(st.integers(3, 7))
    return {(f"l{i}", f"l{j}"): draw(st.integers(1, 10**6)) for i in range(size) for j in range(i)}


@hypothesis.settings(max_examples=8)
@given(dense_counts(), st.floats(1, 5))
def test_marginals_hold_for_both_plans(counts, temperature):
    _, table = pair_table(counts)
    marginals = language_marginals(table, temperature=temperature)
    for plan in (entropic_plan(table, marginals), transport_plan(table, marginals)):
        np.testing.assert_allclose(plan.sum(axis=0), marginals, atol=1e-6)
        np.testing.assert_allclose(plan.sum(axis=1), marginals, atol=1e-6)
        assert plan.min() >= -1e-12


def test_entropic_plan_is_a_scaling_of_the_table():
    _, table = pair_table({("a", "b"): 5, ("b", "c"): 3, ("a", "c"): 2})
    marginals = language_marginals(table, temperature=1.3)
    plan = entropic_plan(table, marginals)
    # diag(u) Q diag(v): the logarithm of P / Q has rank 2 at most, and is u_i + u_j here
    u = [np.sqrt(plan[0, 1] * plan[0, 2] * table[1, 2] / plan[1, 2] / table[0, 1] / table[0, 2])]
    assert plan[0, 1] / table[0, 1] / u[0] == pytest.approx(
        np.sqrt(plan[0, 1] * plan[1, 2] * table[0, 2] / plan[0, 2] / table[0, 1] / table[1, 2])
    )


def test_transport_plan_is_the_best():
    rng = np.random.default_rng(0)
    table = rng.random((4, 4))
    table = (table + table.T) / 2
    np.fill_diagonal(table, 0)
    marginals = language_marginals(table, temperature=2)
    plan = transport_plan(table, marginals)
    best = (plan * table).sum()
    assert best >= (entropic_plan(table, marginals) * table).sum()
    for _ in range(200):  # no exchange of mass between four cells improves it
        i, k, j, m = rng.integers(0, 4, 4)
        step = min(plan[i, j], plan[k, m])
        other = plan.copy()
        other[i, j] -= step
        other[k, m] -= step
        other[i, m] += step
        other[k, j] += step
        assert (other * table).sum() <= best + 1e-9


def test_temperature_one_of_the_entropic_plan_is_the_table():
    counts = {("a", "b"): 5, ("b", "c"): 3, ("a", "c"): 2}
    weights = pair_sampling(counts, temperature=1, entropic=True).of_pairs()
    assert weights[("a", "b")] == weights[("b", "a")] == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("entropic", [False, True])
def test_english_centric_tables_are_refused(entropic):
    counts = {("en", other): 10**i for i, other in enumerate(["fr", "sw", "yo", "de"])}
    with pytest.raises(DataError, match=r"fall on directions without text.*use alpha sampling"):
        pair_sampling(counts, temperature=5, entropic=entropic)


def test_pairs_without_text_get_nothing():
    counts = {("a", "b"): 5, ("b", "c"): 5, ("a", "c"): 5, ("c", "d"): 1, ("a", "d"): 1}
    sampling = pair_sampling(counts, temperature=1.2, entropic=True)
    pairs = sampling.of_pairs()
    assert ("b", "d") not in pairs and sum(pairs.values()) == pytest.approx(1)
    assert set(sampling.lost) == {"a", "b", "c", "d"}


def test_faults():
    with pytest.raises(DataError, match="a-b is listed in both orders|b-a is listed in both"):
        pair_table({("a", "b"): 1, ("b", "a"): 1})
    with pytest.raises(DataError, match="no pair has any text"):
        pair_table({("a", "b"): 0})
    with pytest.raises(ConfigError, match="temperature 0.5"):
        pair_sampling({("a", "b"): 1}, temperature=0.5)


def test_published_counts():
    """The 879 pairs of VECO's table, with sizes from a few hundred to 60 million."""
    path = Path(__file__).parents[3] / "shared" / "data" / "pair_counts" / "veco_opus_pairs.tsv"
    if not path.exists():
        pytest.skip("shared data is not here")
    counts = read_counts(path)
    assert len(counts) == 879
    _, table = pair_table(counts)
    marginals = language_marginals(table, temperature=5)
    plan = entropic_plan(table, marginals)
    np.testing.assert_allclose(plan.sum(axis=1), marginals, atol=1e-6)
    sampling = pair_sampling(counts, temperature=1.5, entropic=True)
    assert sum(sampling.of_pairs().values()) == pytest.approx(1)
    sparse = pair_sampling(counts, temperature=1.5)
    assert len(sparse.of_pairs()) < len(sampling.of_pairs()) <= 2 * 879


def read_counts(path):
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return {tuple(pair.split("-")): float(thousand) for pair, thousand in rows}
