"""JSON Lines: one object per line, as `allenai/c4` and most exports of data sets have it."""

from collections import Counter
from collections.abc import Iterator, Mapping
import dataclasses
import json
from typing import Any

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.sources.compressed_files import DROP, read_lines
from nmt5.data.sources.scores import ScoreLimit
from nmt5.data.sources.text_files import FileSource, text_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonlSource(FileSource):
    """Objects whose fields hold the text, `{"text": ...}` or `{"translation": {"en": ...}}`.

    Attributes:
      fields: per language a field; within a field's object it is named behind a dot, as in
        `translation.en`.
      score: drops examples by the number in a field.

    Raises:
      ConfigError: another number of fields than languages.
    """

    fields: tuple[str, ...] = ("text",)
    score: ScoreLimit | None = None

    def __post_init__(self):
        super().__post_init__()
        if len(self.fields) != len(self.languages):
            raise ConfigError(
                f"JsonlSource: {len(self.fields)} fields for {len(self.languages)} languages"
            )

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the examples of a file; see the base class.

        Raises:
          DataError: a line that is no JSON object, lacks a field, or has something else than text
            in it, with file and line.
          StorageError: the file is missing.
        """
        path = self.existing(shard)
        lines = read_lines(path, on_bad_line=self.on_bad_line, dropped=dropped)
        for number, line in enumerate(lines, 1):
            if not line or line.isspace():
                continue
            place = f"{path}: line {number}"
            try:
                row = _parse(line, place)
                texts = [text_of(_field(row, f, place), name=f, place=place) for f in self.fields]
                score = self.score and _field(row, str(self.score.column), place)
            except DataError:
                if self.on_bad_line != DROP:
                    raise
                dropped["bad JSON or field"] += 1
                continue
            if self.score and not self.score.keeps(score, place=place):
                dropped["low score"] += 1
                continue
            yield dict(zip(self.languages, texts))


def _parse(line: str, place: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: {type(row).__name__}, expected a JSON object")
    return row


def _field(row: Mapping[str, Any], name: str, place: str) -> Any:
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            known = value if isinstance(value, dict) else ()
            raise DataError(f"{place}: field '{name}': {unknown_name('field', part, known)}")
        value = value[part]
    return value
