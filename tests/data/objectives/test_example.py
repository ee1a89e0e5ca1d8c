"""Closing and sharing of sequences."""

from hypothesis import given
from hypothesis import strategies as st

from nmt5.data.objectives.example import closed, fair_lengths

SIDE = st.lists(st.integers(2, 99), max_size=12)


@given(SIDE, SIDE, st.integers(1, 30))
def test_closed_cuts_and_ends_in_eos(first, second, limit):
    found = closed([first, second], limit=limit, eos=1).tolist()
    assert found == (first + second)[: limit - 1] + [1]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_fair_lengths_uses_the_budget_and_cuts_the_longer(first, second, budget):
    kept = fair_lengths((first, second), budget=budget)
    assert sum(kept) == min(first + second, budget)
    assert 0 <= kept[0] <= first and 0 <= kept[1] <= second
    if kept[0] < first and kept[1] < second:
        assert abs(kept[0] - kept[1]) <= 1
    elif kept[0] < first:
        assert kept[0] + 1 >= kept[1]
    elif kept[1] < second:
        assert kept[1] + 1 >= kept[0]
