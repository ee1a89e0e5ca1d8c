"""Parquet files, as the Hugging Face hub serves most data sets (`opus-100`: `translation.en`)."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
from typing import Any

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.sources.compressed_files import open_file
from nmt5.data.sources.scores import ScoreLimit
from nmt5.data.sources.text_files import FileSource, text_of

_BATCH_ROWS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParquetSource(FileSource):
    """Rows whose columns hold the text. Rows with a null in one are dropped as "empty".

    Attributes:
      columns: per language a column; within a struct column it is named behind a dot, as in
        `translation.en`.
      score: drops examples by the number in a column.

    Raises:
      ConfigError: another number of columns than languages.
    """

    columns: tuple[str, ...] = ("text",)
    score: ScoreLimit | None = None

    def __post_init__(self):
        super().__post_init__()
        if len(self.columns) != len(self.languages):
            raise ConfigError(
                f"ParquetSource: {len(self.columns)} columns for {len(self.languages)} languages"
            )

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the rows of a file in batches of few columns; see the base class.

        Raises:
          DataError: not a Parquet file, no such column, or a column of something else than text.
          StorageError: the file is missing.
        """
        # Imported here: only preparing such files needs it, and it takes most of a second.
        import pyarrow
        from pyarrow import parquet

        path = self.existing(shard)
        columns = [*self.columns, *([str(self.score.column)] if self.score else [])]
        with open_file(path) as file:
            try:
                opened = parquet.ParquetFile(file)
                known = [column.path for column in opened.schema]
                for column in columns:
                    if column not in known:
                        raise DataError(f"{path}: {unknown_name('column', column, known)}")
                number = 0
                for batch in opened.iter_batches(_BATCH_ROWS, columns=columns):
                    rows = zip(*(_column(batch, column) for column in columns))
                    for row in rows:
                        number += 1
                        yield from self._example(row, f"{path}: row {number}", dropped)
            except (pyarrow.ArrowException, OSError) as error:
                raise DataError(
                    f"{path}: not a Parquet file, or damaged ({error}); fetch it again"
                ) from error

    def _example(
        self, row: tuple[Any, ...], place: str, dropped: Counter[str]
    ) -> Iterator[dict[str, str]]:
        texts = row[: len(self.languages)]
        if None in texts:
            dropped["empty"] += 1
        elif self.score and not self.score.keeps(row[-1], place=place):
            dropped["low score"] += 1
        else:
            fields = zip(self.languages, self.columns, texts)
            yield {lang: text_of(text, name=col, place=place) for lang, col, text in fields}


def _column(batch: Any, name: str) -> list[Any]:
    first, *rest = name.split(".")
    values = batch.column(first).to_pylist()
    for part in rest:
        values = [value and value[part] for value in values]
    return values
