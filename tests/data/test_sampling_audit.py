"""The audit's arithmetic, and the paper's four passes over OPUS-100."""

import pytest

from nmt5.core.errors import DataError
from nmt5.data.sampling_audit import audit, audit_table


def test_ten_percent_of_tokens_is_four_passes_over_opus100():
    """100,000 steps of 1,048,576 tokens; a pair has about 24 encoder tokens each way."""
    pairs, tokens_per_pair = 54_656_433, 2 * 24
    (row,) = audit(
        {"opus100": 1.0},
        tokens={"opus100": pairs * tokens_per_pair},
        drawn_tokens=0.1 * 100_000 * 1_048_576,
    )
    assert row.epochs == pytest.approx(4.0, abs=0.05)


def test_table_sums_up():
    rows = audit({"sw": 1.0, "en": 3.0}, tokens={"en": 900, "sw": 100, "x": 5}, drawn_tokens=2000)
    assert [row.name for row in rows] == ["en", "sw"]
    assert sum(row.epochs * row.tokens for row in rows) == pytest.approx(2000)
    lines = audit_table(rows).splitlines()
    assert len(lines) == 4 and lines[-1].split()[0] == "all" and lines[-1].endswith("2.000")


def test_weight_without_text():
    with pytest.raises(DataError, match="no tokens are known of sw"):
        audit({"sw": 1.0}, tokens={"en": 1}, drawn_tokens=1)
