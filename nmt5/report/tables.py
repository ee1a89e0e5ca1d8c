"""Aligned tables for the terminal."""

from collections.abc import Sequence
import unicodedata


def text_table(header: Sequence[str], *, rows: Sequence[Sequence[str]]) -> str:
    """Returns rows in columns, the first to the left, the others to the right.

    >>> print(text_table(["model", "score"], rows=[["base", "1.5"], ["MLM+NMT", "12.0"]]))
    model    score
    -------  -----
    base       1.5
    MLM+NMT   12.0

    Args:
      header: names of the columns.
      rows: as many cells each.

    Raises:
      ValueError: a row has another number of cells.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row {list(row)} has {len(row)} cells, expected {len(header)}")
    widths = [max(map(display_width, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - display_width(cell))
            padded.append(cell + space if index == 0 else space + cell)
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def display_width(text: str) -> int:
    """Returns how many columns of a terminal a text takes.

    >>> display_width("naïve"), display_width("漢字")
    (5, 4)
    """
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
        if not unicodedata.combining(char)
    )


def with_interval(value: float, low: float, high: float, *, digits: int = 1) -> str:
    """Returns a value and its interval.

    >>> with_interval(12.345, 10, 14.5)
    '12.3 [10.0, 14.5]'
    """
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
