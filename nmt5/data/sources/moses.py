r"""Moses text: one file per language, line i of one is the translation of line i of the other."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import itertools

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.compressed_files import read_lines
from nmt5.data.sources.text_files import FileSource

LANGUAGE = "{language}"
_END = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MosesSource(FileSource):
    r"""Plain text, one example per line; a pair is two files read in step.

    Lines are split at \n only. In paths `{language}` stands for the language's code, so that
    `opus.en-fr-train.{language}` names both sides. Lines with an empty side are dropped as "empty".

    Attributes:
      codes: the codes that file names have, if they differ from `languages`.

    Raises:
      ConfigError: a path without `{language}` for a pair, or another number of codes.
    """

    codes: tuple[str, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.codes is not None and len(self.codes) != len(self.languages):
            raise ConfigError(
                f"MosesSource: {len(self.codes)} codes for {len(self.languages)} languages"
            )
        for path in (path for paths in self.files.values() for path in paths):
            if len(self.languages) == 2 and LANGUAGE not in path:
                raise ConfigError(
                    f"MosesSource: path '{path}' has no '{LANGUAGE}', which names the two files of "
                    "a pair"
                )

    def paths(self, shard: str) -> tuple[str, ...]:
        """Returns the file of each language."""
        return tuple(shard.replace(LANGUAGE, code) for code in self.codes or self.languages)

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the lines of the files in step; see the base class.

        Raises:
          DataError: a bad line, or files of unequal length, with both numbers of lines.
          StorageError: a file is missing.
        """
        paths = [self.existing(path) for path in self.paths(shard)]
        sides = [read_lines(p, on_bad_line=self.on_bad_line, dropped=dropped) for p in paths]
        for number, lines in enumerate(itertools.zip_longest(*sides, fillvalue=_END)):
            if _END in lines:
                counts = [
                    number + (line is not _END) + sum(1 for _ in side)
                    for line, side in zip(lines, sides)
                ]
                raise DataError(
                    f"{paths[0]} has {counts[0]} lines, {paths[1]} has {counts[1]}: they are not "
                    "line by line translations; fetch them again, and do not count lines with "
                    "tools that split at other characters than newline"
                )
            if None in lines:  # counted where it was read
                continue
            if not all(lines):
                dropped["empty"] += 1
                continue
            yield {language: str(line) for language, line in zip(self.languages, lines)}
