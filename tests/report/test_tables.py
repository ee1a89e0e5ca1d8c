import pytest

from nmt5.report.tables import display_width, text_table


def test_wide_characters_keep_the_columns_aligned():
    lines = text_table(["name", "n"], rows=[["漢字", "1"], ["abcd", "22"]]).splitlines()
    assert {display_width(line) for line in lines[1:]} == {8}


def test_a_ragged_row_is_refused():
    with pytest.raises(ValueError, match="has 1 cells, expected 2"):
        text_table(["a", "b"], rows=[["x"]])
