"""Filters that any source can be put behind; each counts what it drops."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import hashlib

from nmt5.core.errors import ConfigError
from nmt5.data.sources.base import TextSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilteredSource(TextSource):
    """The examples of another source that pass all filters. `filtered` makes one.

    Attributes:
      source: the other source.
      min_characters: shortest text kept, on every side.
      max_characters: longest text kept, on every side; None keeps all.
      max_ratio: of a pair, how many times longer one side may be, in UTF-8 bytes (a fairer measure
        than characters between scripts); None keeps all.
      drop_identical: drops pairs whose sides are equal but for case and outer white space.
      drop_duplicates: drops examples that occurred before in the same shard; 8 bytes of hash are
        kept for each, 75 MB per million examples.

    Raises:
      ConfigError: a limit that nothing can pass, or a pair's filter on monolingual text.
    """

    source: TextSource
    min_characters: int = 1
    max_characters: int | None = None
    max_ratio: float | None = None
    drop_identical: bool = False
    drop_duplicates: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ConfigError(
                f"filters: max_characters {self.max_characters} is below min_characters "
                f"{self.min_characters}"
            )
        if self.max_ratio is not None and self.max_ratio < 1:
            raise ConfigError(f"filters: max_ratio is {self.max_ratio}, expected at least 1")
        if len(self.languages) == 1 and (self.max_ratio is not None or self.drop_identical):
            raise ConfigError("filters: max_ratio and drop_identical need two languages")

    @property
    def needs_files_alone(self) -> bool:
        """Returns whether the other source does."""
        return self.source.needs_files_alone

    def splits(self) -> tuple[str, ...]:
        """Returns the splits of the other source."""
        return self.source.splits()

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns the shards of the other source."""
        return self.source.shards(split)

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields what passes; `dropped` counts by the first filter that did not. May raise all
        that the other source raises.
        """
        seen: set[bytes] = set()
        for example in self.source.read(split, shard, dropped):
            reason = self._reason(tuple(example.values()), seen)
            if reason:
                dropped[reason] += 1
            else:
                yield example

    def _reason(self, texts: tuple[str, ...], seen: set[bytes]) -> str | None:
        if min(map(len, texts)) < self.min_characters:
            return "too short"
        if self.max_characters is not None and max(map(len, texts)) > self.max_characters:
            return "too long"
        if self.max_ratio is not None:
            sizes = [len(text.encode()) for text in texts]
            if max(sizes) > self.max_ratio * min(sizes):
                return "length ratio"
        if self.drop_identical and len({text.strip().casefold() for text in texts}) == 1:
            return "identical"
        if self.drop_duplicates:
            key = hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
            if key in seen:
                return "duplicate"
            seen.add(key)
        return None


def filtered(source: TextSource, **filters) -> FilteredSource:
    """Puts a source behind filters; see the attributes of `FilteredSource`."""
    return FilteredSource(languages=source.languages, source=source, **filters)
