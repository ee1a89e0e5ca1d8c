"""What every text source offers, and the named corpus that a store directory is made from."""

import abc
from collections import Counter
from collections.abc import Iterator
import dataclasses
import itertools
import re

from nmt5.core.errors import ConfigError

# Documents are long: what is held at once should be looked at often.
_AT_ONCE = 32

# A corpus name is also a directory name on local disks and object stores.
_CORPUS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSource(abc.ABC):
    """Text in one language, or pairs in two, read in splits and shards.

    Sources are small frozen values: they hold names and settings, never open files or text, so that
    a pipeline can send them to its workers. Files are looked for on the first read, not before.

    Attributes:
      languages: (language,) of monolingual text; of pairs both, in the order that
        `nmt5.data.languages.pair` gives (English first, else alphabetical).
    """

    languages: tuple[str, ...]

    # Whether `read` yields arrays of token ids under two names in place of languages, not text.
    holds_ids = False
    # Whether files are all that `read` needs: no TensorFlow, no module of the user's, no registry.
    # Then worker processes read it that have imported little.
    needs_files_alone = False

    def __post_init__(self):
        if not isinstance(self.languages, tuple) or len(self.languages) not in (1, 2):
            raise ConfigError(
                f"{type(self).__name__}: languages must be a tuple of one language or of two, "
                f"found {self.languages!r}"
            )
        if len(set(self.languages)) != len(self.languages):
            raise ConfigError(f"{type(self).__name__}: {self.languages[0]} is paired with itself")

    @abc.abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Returns the names of the splits; answers without opening a file."""

    @abc.abstractmethod
    def shards(self, split: str) -> tuple[str, ...]:
        """Returns the names of the parts of a split that can be read in parallel."""

    @abc.abstractmethod
    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields `{language: text}` for every example of a shard, always in the same order.

        Args:
          split: one of `splits()`.
          shard: one of `shards(split)`.
          dropped: receives `{reason: number of examples}` for all that was not yielded.

        Raises:
          DataError: the text cannot be read as it is; names the file, and the line if it has any.
          StorageError: a file is missing or unreadable.
        """

    def read_columns(
        self, split: str, shard: str, dropped: Counter[str]
    ) -> Iterator[dict[str, list[str]]]:
        """Yields what `read` does, some examples at a time as `{language: [text, ...]}`.

        For `prepare`, which Python's share of every example holds up: a source that can have many
        at once in fewer steps has its own.
        """
        examples = self.read(split, shard, dropped)
        while some := list(itertools.islice(examples, _AT_ONCE)):
            yield {language: [one[language] for one in some] for language in self.languages}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """A source under the name of the store directory that `prepare` writes for it.

    Raises:
      ConfigError: the name cannot be a directory name everywhere.
    """

    name: str
    source: TextSource

    def __post_init__(self):
        check_corpus_name(self.name)


def check_corpus_name(name: str, *, kind: str = "corpus") -> None:
    """Raises `ConfigError` if a name cannot be a file's or directory's name everywhere."""
    if not _CORPUS_NAME.fullmatch(name):
        raise ConfigError(
            f"{kind} name {name!r}: use letters, digits, '.', '_' and '-' only, beginning "
            "with a letter or digit"
        )
