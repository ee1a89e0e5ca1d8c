"""UniMax spends the budget, respects the caps, and treats uncapped languages alike."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.unimax import unimax_tokens, unimax_weights

TOKENS = st.dictionaries(st.text("abc", min_size=1), st.integers(1, 10**9), min_size=1)


@given(TOKENS, st.floats(1, 1e10), st.floats(0.1, 20))
def test_budget_and_caps(tokens, budget, epochs):
    given_tokens = unimax_tokens(tokens, budget_tokens=budget, max_epochs=epochs)
    capacity = epochs * sum(tokens.values())
    assert sum(given_tokens.values()) == pytest.approx(min(budget, capacity), rel=1e-6)
    uncapped = set()
    for language, number in given_tokens.items():
        assert 0 < number <= epochs * tokens[language] * (1 + 1e-9)
        if number < epochs * tokens[language] * (1 - 1e-6):
            uncapped.add(round(number, 3) if number < 1e3 else float(f"{number:.6g}"))
    assert len(uncapped) <= 2, "all uncapped languages get the same, up to rounding"
    if uncapped:
        assert max(uncapped) == pytest.approx(min(uncapped), rel=1e-4, abs=2e-3)
        # a capped language never gets more than an uncapped one
        assert max(given_tokens.values()) == pytest.approx(max(uncapped), rel=1e-4, abs=2e-3)
    weights = unimax_weights(tokens, budget_tokens=budget, max_epochs=epochs)
    assert sum(weights.values()) == pytest.approx(1)


def test_faults():
    with pytest.raises(ConfigError, match="budget 0 tokens"):
        unimax_tokens({"a": 1}, budget_tokens=0, max_epochs=1)
    with pytest.raises(DataError, match="no text in b; leave"):
        unimax_tokens({"a": 1, "b": 0}, budget_tokens=1, max_epochs=1)
