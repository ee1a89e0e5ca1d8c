"""Tab-separated text: one example per line, columns by number or by the name in a header line."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import itertools
import operator

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.sources.compressed_files import DROP, read_line_blocks
from nmt5.data.sources.scores import ScoreLimit
from nmt5.data.sources.text_files import FileSource

_LINES_AT_ONCE = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class TsvSource(FileSource):
    r"""Lines of columns parted by tabs, without quoting.

    With columns=(1, 2) and languages ("en", "fr") the line `"x\tOne\tUn"` is
    `{"en": "One", "fr": "Un"}`.

    Attributes:
      columns: per language a column, counted from 0, or its name in the header line.
      header: whether files begin with a line of names.
      score: drops examples by the number in a column.

    Raises:
      ConfigError: another number of columns than languages, or names without a header.
    """

    columns: tuple[int | str, ...]
    header: bool = False
    score: ScoreLimit | None = None

    def __post_init__(self):
        super().__post_init__()
        if len(self.columns) != len(self.languages):
            raise ConfigError(
                f"TsvSource: {len(self.columns)} columns for {len(self.languages)} languages"
            )
        named = [c for c in self._all_columns() if isinstance(c, str)]
        if named and not self.header:
            raise ConfigError(
                f"TsvSource: column '{named[0]}' is a name, but header is False; number columns "
                "from 0, or set header=True"
            )
        negative = [c for c in self._all_columns() if isinstance(c, int) and c < 0]
        if negative:
            raise ConfigError(f"TsvSource: column {negative[0]}: columns count from 0")

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the examples of a file; see the base class.

        Raises:
          DataError: a bad line, a missing column or a score that is no number, with file and line.
          StorageError: the file is missing.
        """
        for texts in self.read_columns(split, shard, dropped):
            for example in zip(*texts.values()):
                yield dict(zip(self.languages, example))

    def read_columns(
        self, split: str, shard: str, dropped: Counter[str]
    ) -> Iterator[dict[str, list[str]]]:
        """Yields the examples of a file, many at a time; raises as `read`."""
        path = self.existing(shard)
        blocks = read_line_blocks(path, on_bad_line=self.on_bad_line, dropped=dropped)
        first = next(blocks, [])
        columns = self._numbers(first[0] if self.header and first else None, path)
        number, skipped = 1, int(self.header)
        for block in itertools.chain([first], blocks):
            for at in range(skipped, len(block), _LINES_AT_ONCE):
                rows = self._rows(
                    block[at : at + _LINES_AT_ONCE], columns, path, number + at, dropped
                )
                yield {
                    language: list(map(operator.itemgetter(column), rows))
                    for language, column in zip(self.languages, columns)
                }
            number, skipped = number + len(block), 0

    def _rows(self, lines, columns, path, first, dropped) -> list[list[str]]:
        """Returns the fields of the lines from number `first` on that are kept."""
        rows = [line.split("\t") for line in lines if line is not None]
        is_sound = len(rows) == len(lines) and min(map(len, rows)) > max(columns)
        if is_sound and self.score is None:
            return rows
        kept = []
        for number, line in enumerate(lines, first):
            if line is None:
                continue
            fields = line.split("\t")
            if len(fields) <= max(columns):
                if self.on_bad_line == DROP:
                    dropped["missing column"] += 1
                    continue
                raise DataError(
                    f"{path}: line {number}: {len(fields)} columns, expected at least "
                    f"{max(columns) + 1}; mend the line, choose other columns, or set "
                    "on_bad_line='drop'"
                )
            if self.score and not self.score.keeps(
                fields[columns[-1]], place=f"{path}: line {number}"
            ):
                dropped["low score"] += 1
                continue
            kept.append(fields)
        return kept

    def _all_columns(self) -> tuple[int | str, ...]:
        return self.columns + ((self.score.column,) if self.score else ())

    def _numbers(self, header: str | None, path: str) -> tuple[int, ...]:
        """Returns the places of all columns, those with a name looked up in the header line."""
        if self.header and header is None:
            raise DataError(f"{path}: line 1: expected a header, found none")
        names = (header or "").split("\t")
        columns = self._all_columns()
        for column in columns:
            if isinstance(column, str) and column not in names:
                raise DataError(f"{path}: line 1: {unknown_name('column', column, names)}")
        return tuple(names.index(c) if isinstance(c, str) else c for c in columns)
