"""What sources of text files share: naming the files, finding them, and keeping bad lines apart."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from etils import epath

from nmt5.core.errors import ConfigError, DataError, StorageError, unknown_name
from nmt5.data.sources.base import TextSource
from nmt5.data.sources.compressed_files import ERROR, MEMBER, check_on_bad_line
from nmt5.data.sources.remote_paths import remote_faults
from nmt5.data.sources.watched_files import WILD, file_state, matches

DATA_VARIABLE = "NMT5_DATA"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSource(TextSource):
    """Text files, each a shard, under one data root.

    Paths that are not absolute start at `root`, or if that is None at the environment variable
    NMT5_DATA, or at the current directory. They are looked for on the first read, not before. Local
    and `gs://`-style paths are taken, and .gz .xz .bz2 .zst .zip files decompressed.

    Attributes:
      files: `{split: path or paths}`; `*`, `?`, `[...]` match several, in sorted order.
      root: directory that the paths start from.
      origin: where a user gets the files, for the message when one is missing.
      on_bad_line: "error", or "drop" to count lines that are not UTF-8, have a NUL byte or lack a
        column, and go on.

    Raises:
      ConfigError: no file is named, or `on_bad_line` is neither.
    """

    files: Mapping[str, tuple[str, ...] | str] = dataclasses.field(hash=False)
    root: str | None = None
    origin: str = ""
    on_bad_line: str = ERROR

    def __post_init__(self):
        super().__post_init__()
        files = {
            split: (paths,) if isinstance(paths, str) else tuple(paths)
            for split, paths in self.files.items()
        }
        if not files or not all(files.values()):
            raise ConfigError(
                f"{type(self).__name__}: files names no file, or none for a split: {files}"
            )
        check_on_bad_line(self.on_bad_line, where=type(self).__name__)
        object.__setattr__(self, "files", files)

    @property
    def needs_files_alone(self) -> bool:
        """Returns whether the class is nmt5's own: others need the module that they come from."""
        return type(self).__module__.startswith("nmt5.")

    def splits(self) -> tuple[str, ...]:
        """Returns the splits that files are named for."""
        return tuple(self.files)

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns the paths of a split as they are named; patterns as the paths that match.

        Raises:
          DataError: no such split.
          StorageError: nothing matches a pattern.
        """
        if split not in self.files:
            raise DataError(f"{type(self).__name__}: {unknown_name('split', split, self.files)}")
        return tuple(found for path in self.files[split] for found in self._matches(path))

    def file_states(self) -> tuple[tuple[str, int, float], ...]:
        """Returns (path, bytes, time of change) of every file: other values, other text."""
        states = []
        for split in self.files:
            for path in (path for shard in self.shards(split) for path in self.paths(shard)):
                length, changed = file_state(self.absolute(path).partition(MEMBER)[0])
                if length >= 0:
                    states.append((path, length, changed))
        return tuple(states)

    def watched_files(self) -> tuple[str, ...]:
        """Returns all paths and patterns that are read, from the root on."""
        return tuple(
            os.path.abspath(path) if "://" not in path else path
            for paths in self.files.values()
            for named in paths
            for path in (self.absolute(each).partition(MEMBER)[0] for each in self.paths(named))
        )

    def paths(self, shard: str) -> tuple[str, ...]:
        """Returns the files that make a shard; one, unless a subclass reads several in step."""
        return (shard,)

    def absolute(self, path: str) -> str:
        """Returns where a named path lies."""
        root = self.root or os.environ.get(DATA_VARIABLE) or ""
        if "://" in path or os.path.isabs(path):
            return path
        return os.fspath(epath.Path(root).expanduser() / path) if root else path

    def existing(self, path: str) -> str:
        """Returns where a named path lies.

        Raises:
          StorageError: it does not exist; the message says where it is expected, and where from.
        """
        found = self.absolute(path)
        file = found.partition(MEMBER)[0]
        with remote_faults(file):
            exists = epath.Path(file).exists()
        if not exists:
            raise self._missing(f"{found} does not exist")
        return found

    def _matches(self, path: str) -> tuple[str, ...]:
        if not WILD & set(path):
            return (path,)
        place = self.absolute(path)
        # Matched from the part before the first pattern on, so that names stay relative.
        found = matches(place)
        if not found:
            raise self._missing(f"nothing matches {place}")
        if place == path:
            return tuple(found)
        prefix = place.removesuffix(path)
        return tuple(match.removeprefix(prefix) for match in found)

    def _missing(self, what: str) -> StorageError:
        root = "" if self.root else f"; relative paths start at ${DATA_VARIABLE}"
        origin = f"; it comes from {self.origin}" if self.origin else ""
        return StorageError(f"{type(self).__name__}: {what}{origin}{root}")


def text_of(value: Any, *, name: str, place: str) -> str:
    """Returns a field's value if it is text.

    Raises:
      DataError: it is something else; names the place.
    """
    if not isinstance(value, str):
        raise DataError(
            f"{place}: field '{name}' is {type(value).__name__}, expected text; name the field "
            "that holds the text"
        )
    return value
