"""Tables of counts: names, headers, and lines that cannot be."""

from pathlib import Path

import pytest

from nmt5.core.errors import DataError, StorageError
from nmt5.data.count_tables import counts_of

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pair_counts"


def test_a_table_with_a_header_and_more_columns(tmp_path):
    path = tmp_path / "counts.tsv"
    path.write_text("name\tpairs\tnote\nfr-en\t1,500\tx\nde-he\t2.5\nsw\t7\n")
    found = counts_of([path])
    assert found == {("en", "fr"): 1500.0, ("de", "iw"): 2.5, ("sw",): 7.0}
    assert counts_of({"fr-en": 1500, "de-iw": 2.5, "sw": 7}) == found


@pytest.mark.parametrize(
    "text, message",
    [
        ("fr-en\t1\nen-fr\t2\n", "line 2: en-fr is listed twice"),
        ("fr\t1\nxx-en\t2\n", "line 2: unknown language 'xx-en'"),
        ("fr\t1\nen\tmany\n", "line 2: 'many' is no number"),
        ("fr\t1\nen\n", "line 2: '' is no number"),
        ("fr\t-1\n", r"line 1: fr: -1\.0, expected a number of at least 0"),
        ("fr\tnan\n", "line 1: fr: nan"),
    ],
)
def test_what_cannot_be(tmp_path, text, message):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        counts_of([tmp_path / "x.tsv"])


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"no\.tsv"):
        counts_of([tmp_path / "no.tsv"])


def test_published_tables():
    if not SHARED.exists():
        pytest.skip("shared data is not here")
    found = counts_of([SHARED / "veco_opus_pairs.tsv", SHARED / "veco_mono.tsv"])
    assert sum(len(name) == 2 for name in found) == 879
    assert sum(found[name] for name in found if len(name) == 2) == pytest.approx(6421152.45)
