"""Audits of tables of counts, also by the command."""

import itertools
from pathlib import Path

import pytest

from nmt5.cli import main
from nmt5.core.errors import ConfigError, DataError
from nmt5.data.count_tables import counts_of
from nmt5.data.table_audit import audit_counts

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pair_counts"


def audited(counts, **settings):
    defaults = {"sampling": "alpha", "alpha": None, "temperature": None}
    defaults |= {"max_epochs": None, "drawn": None}
    found = audit_counts(counts_of(counts), **(defaults | settings))
    return {audit.title: {row.name: row for row in audit.rows} for audit in found}


def test_languages_and_pairs_apart():
    found = audited({"fr": 81, "sw": 16, "en-fr": 90, "en-sw": 10}, alpha=0.5)
    assert found["languages"]["fr"].weight == pytest.approx(9 / 13)
    assert found["pairs"]["en-fr"].weight == pytest.approx(0.75)
    assert found["pairs"]["en-fr"].epochs == pytest.approx(0.75 / 0.9)
    assert found["languages of the pairs"]["en"].weight == pytest.approx(0.5)
    tenfold = audited({"en-fr": 90, "en-sw": 10}, alpha=0.5, drawn=1000)
    assert tenfold["pairs"]["en-sw"].epochs == pytest.approx(25)


def test_caps_and_unimax():
    counts = {"en-fr": 90.0, "en-sw": 10.0}
    found = audited(counts, sampling="unimax", max_epochs=2, drawn=100)
    assert found["pairs"]["en-sw"].epochs == pytest.approx(2)
    assert audited(counts, alpha=0.0, max_epochs=2, drawn=100) == found
    with pytest.raises(ConfigError, match="'unimax' needs max_epochs"):
        audited(counts, sampling="unimax")
    with pytest.raises(ConfigError, match="give one"):
        audited(counts, alpha=0.5, temperature=2)
    with pytest.raises(ConfigError, match="nearest: 'alpha'"):
        audited(counts, sampling="alpa")


def test_a_table_that_cannot_meet_its_marginals():
    counts = {"en-fr": 1000.0, "en-sw": 10.0, "en-yo": 1.0}
    with pytest.raises(DataError, match="use alpha sampling"):
        audited(counts, sampling="sinkhorn_entropic", temperature=5)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pairs.tsv"
    languages = ("cs", "de", "en", "es", "fr")
    lines = [
        f"{a}-{b}\t{10 ** (i % 4 + 2)}"
        for i, (a, b) in enumerate(itertools.combinations(languages, 2))
    ]
    path.write_text("pair\tsentences\n" + "\n".join(lines) + "\n")
    return str(path)


def test_the_command_prints_and_draws_it(table, tmp_path, capsys):
    settings = ["--gin.Workspace.sampling=sinkhorn", "--gin.Workspace.temperature=1.05"]
    plot = str(tmp_path / "plot.svg")
    main.run(["sampling", table, *settings, "--plot", plot])
    printed = capsys.readouterr().out
    assert "of 10 pairs are drawn" in printed and "removed" in printed
    assert "pairs: passes" in Path(plot).read_text() and "languages of the pairs" in printed
    with pytest.raises(ConfigError, match="no use for Workspace.parallel_share"):
        main.run(["sampling", table, "--gin.Workspace.parallel_share=0.5"])
    with pytest.raises(ConfigError, match="--drawn is for a table"):
        main.run(["sampling", "x.json", "--drawn", "5"])
    with pytest.raises(ConfigError, match=r"Workspace\.store must be set.*--published"):
        main.run(["sampling", "mlm_nmt"])


@pytest.mark.parametrize("sampling", ["sinkhorn", "sinkhorn_entropic"])
def test_published_counts_of_many_pairs(sampling):
    path = SHARED / "veco_opus_pairs.tsv"
    if not path.exists():
        pytest.skip("shared data is not here")
    found = audited([path], sampling=sampling, temperature=1.5)
    languages = found["languages of the pairs"].values()
    total = sum(row.natural ** (1 / 1.5) for row in languages)
    # What fell on pairs without text is taken away, and the rest is dealt out again.
    met = {r.name: r.natural ** (1 / 1.5) / total * (1 - (r.removed or 0)) for r in languages}
    assert sum(met.values()) > 0.99
    for row in languages:
        assert row.weight == pytest.approx(met[row.name] / sum(met.values()), abs=1e-6)
