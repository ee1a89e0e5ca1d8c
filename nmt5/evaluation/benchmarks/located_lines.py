"""Lines, TSV rows and JSON of evaluation files, each with the place that an error can name.

Lines end at `\\n` only: `str.splitlines` also cuts at U+2028 or U+0085, which real text holds, and
would shift every line after it. A final `\\r` is dropped. Compressed files are recognised by their
first bytes, whatever their name.
"""

from collections.abc import Iterator, Sequence
import csv
import dataclasses
import gzip
import json
from typing import Any, BinaryIO
import zlib

from etils import epath

from nmt5.core.errors import DataError
from nmt5.core.files import storage_faults

_GZIP = b"\x1f\x8b"
_BOM = "\ufeff"


@dataclasses.dataclass(frozen=True)
class Place:
    """A record of a file, for messages.

    >>> str(Place("dev.tsv", "line 7"))
    'dev.tsv: line 7'
    """

    file: str
    record: str

    def __str__(self) -> str:
        return f"{self.file}: {self.record}"

    def error(self, found: str, remedy: str = "mend or remove the record") -> DataError:
        """Returns the error that says what was found here and what to do."""
        return DataError(f"{self}: {found}; {remedy}")


@dataclasses.dataclass(frozen=True)
class Line:
    """One line without its end, and where it stands."""

    text: str
    place: Place


def read_lines(path: epath.PathLike) -> Iterator[Line]:
    """Yields the lines of a UTF-8 file, plain or gzip.

    Raises:
      StorageError: the file is missing or unreadable.
      DataError: not UTF-8, or a gzip file that is cut off.
    """
    path = epath.Path(path)
    number = 0
    with storage_faults("reading", path), path.open("rb") as raw:
        try:
            for number, content in enumerate(_unpacked(raw), start=1):
                text = content.decode("utf-8")
                if number == 1:
                    text = text.removeprefix(_BOM)
                place = Place(str(path), f"line {number}")
                yield Line(text.removesuffix("\n").removesuffix("\r"), place)
        except UnicodeDecodeError as error:
            raise Place(str(path), f"line {number}").error(f"not UTF-8 ({error.reason})") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            place = Place(str(path), f"after line {number}")
            raise place.error(
                "the gzip data is cut off or damaged", "get the file again"
            ) from error


def read_rows(
    path: epath.PathLike, *, columns: int | None = None, at_least: int | None = None
) -> Iterator[tuple[list[str], Place]]:
    """Yields the cells of each line of a tab-separated file; quotation marks mean nothing.

    Args:
      path: the file.
      columns: number of cells that every line must have.
      at_least: smallest number of cells instead.

    Raises:
      DataError: a line with another number of cells; and as `read_lines`.
    """
    for line in read_lines(path):
        cells = line.text.split("\t")
        if columns is not None and len(cells) != columns:
            raise line.place.error(f"{len(cells)} tab-separated cells, expected {columns}")
        if at_least is not None and len(cells) < at_least:
            raise line.place.error(f"{len(cells)} tab-separated cells, expected {at_least} or more")
        yield cells, line.place


def read_table(
    path: epath.PathLike, *, required: Sequence[str], quoted: bool = False
) -> Iterator[tuple[dict[str, str], Place]]:
    """Yields `{column name: cell}` of a tab-separated file whose first line names the columns.

    Args:
      path: the file.
      required: columns that it must have.
      quoted: cells may stand in quotation marks, doubled inside, and then hold tabs, as spreadsheet
        programs write them (FarsTail); otherwise quotation marks mean nothing (XNLI).

    Raises:
      DataError: a required column is missing, a line has other columns; and as `read_lines`.
    """
    rows = _quoted_rows(path) if quoted else read_rows(path)
    try:
        names, place = next(rows)
    except StopIteration:
        raise Place(str(path), "line 1").error("empty file", "get the file again") from None
    missing = [name for name in required if name not in names]
    if missing:
        raise place.error(f"no column {missing}, found {names}", "use a file with these columns")
    for cells, place in rows:
        if len(cells) != len(names):
            raise place.error(f"{len(cells)} tab-separated cells, expected {len(names)}")
        yield dict(zip(names, cells, strict=True)), place


def read_json_lines(
    path: epath.PathLike, *, required: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Place]]:
    """Yields the objects of a JSON-lines file; empty lines are skipped.

    Raises:
      DataError: a line that is not a JSON object or lacks a key; and as `read_lines`.
    """
    for line in read_lines(path):
        if not line.text.strip():
            continue
        try:
            value = json.loads(line.text)
        except json.JSONDecodeError as error:
            raise line.place.error(f"not JSON ({error}), perhaps cut off") from error
        yield expect_keys(value, required, line.place), line.place


def read_json_file(path: epath.PathLike) -> Any:
    """Returns the value of a JSON file, plain or gzip.

    Raises:
      DataError: not JSON; the message has the line at which reading ended. Also as `read_lines`.
    """
    text = "\n".join(line.text for line in read_lines(path))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = Place(str(path), f"line {error.lineno}, column {error.colno}")
        # A cut string is at fault where it begins, "tru" or "\\u4e" within the last six characters.
        rest = text[error.pos :].rstrip()
        cut_word = len(rest) <= 6 and not any(one in rest for one in "]},")
        cut = cut_word or error.msg.startswith("Unterminated string")
        found = "the JSON ends too early" if cut else f"not JSON ({error.msg})"
        raise place.error(found, "get the file again") from error


def expect_keys(value: Any, required: Sequence[str], place: Place) -> dict[str, Any]:
    """Returns `value` if it is an object with these keys.

    Raises:
      DataError: it is not.
    """
    if not isinstance(value, dict):
        raise place.error(f"found {type(value).__name__}, expected an object")
    missing = [key for key in required if key not in value]
    if missing:
        raise place.error(f"no key {missing}, found {sorted(value)}")
    return value


def text_of(value: dict[str, Any], key: str, place: Place) -> str:
    """Returns `value[key]` if it is text.

    Raises:
      DataError: it is null, a number or anything else.
    """
    if not isinstance(value[key], str):
        raise place.error(f"{key} is {type(value[key]).__name__}, expected text")
    return value[key]


def list_of(value: dict[str, Any], key: str, place: Place) -> list[Any]:
    """Returns `value[key]` if it is a list.

    Raises:
      DataError: it is null, an object or anything else.
    """
    if not isinstance(value[key], list):
        raise place.error(f"{key} is {type(value[key]).__name__}, expected a list")
    return value[key]


def _quoted_rows(path: epath.PathLike) -> Iterator[tuple[list[str], Place]]:
    for line in read_lines(path):
        try:
            cells = next(csv.reader([line.text], delimiter="\t", strict=True), [""])
        except csv.Error as error:
            raise line.place.error(f"quotation marks do not match ({error})") from error
        yield cells, line.place


def _unpacked(raw: BinaryIO) -> BinaryIO:
    start = raw.read(2)
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if start == _GZIP else raw
