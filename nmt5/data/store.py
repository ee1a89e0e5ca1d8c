"""The store: token ids of one corpus per directory, read at random with a bounded number of files.

    <store root>/<corpus>/corpus.json                          counts, fingerprints, shards
    <store root>/<corpus>/train-00000-of-00002.arrayrecord     records of token ids

An example is a tuple of id sequences: one segment of running text for a monolingual corpus, the two
sides of a sentence pair for a parallel one; `nmt5.data.shard_files` says how files hold them.
`corpus.json` is written last, so a corpus without it does not exist. Nothing here imports
TensorFlow, SeqIO, Beam or JAX.
"""

import bisect
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import itertools
import os

from etils import epath
import numpy as np

from nmt5.core.errors import DataError, StorageError, unknown_name
from nmt5.core.files import read_json, storage_faults, write_json
from nmt5.data.shard_files import (
    PAIR_WRITER_OPTIONS,
    SEGMENT_WRITER_OPTIONS,
    OpenFiles,
    decode_record,
    encode_record,
    example_of_group,
)

__all__ = [
    "CORPUS_FILE",
    "FORMAT",
    "PAIR_WRITER_OPTIONS",
    "SEGMENT_WRITER_OPTIONS",
    "CorpusInfo",
    "OpenFiles",
    "ShardInfo",
    "SplitInfo",
    "StoredSplit",
    "corpus_directory",
    "corpus_exists",
    "decode_record",
    "encode_record",
    "file_sha256",
    "list_corpora",
    "open_split",
    "read_corpus_info",
    "verify_corpus",
    "write_corpus_info",
]

FORMAT = 2
CORPUS_FILE = "corpus.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One ArrayRecord file.

    Attributes:
      file: name within the corpus directory.
      num_records: segments or pairs in it.
      sha256: of its bytes.
    """

    file: str
    num_records: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """What one split of a corpus holds.

    Attributes:
      num_records: segments or pairs.
      examples: documents or pairs kept; fewer than `num_records` when long documents were cut.
      tokens: `{language: ids stored}`.
      dropped: `{reason: examples}` of what was read and not kept.
      cut: documents of which only one chunk was kept (monolingual).
      lengths: `{language: {upper bound, a power of two: examples}}` before any cutting.
      shards: the files, in record order.
    """

    num_records: int
    examples: int
    tokens: Mapping[str, int]
    dropped: Mapping[str, int]
    cut: int
    lengths: Mapping[str, Mapping[str, int]]
    shards: tuple[ShardInfo, ...]

    def mean_tokens(self, language: str) -> float:
        """Returns the mean ids per kept example in `language`; 0 for an empty split."""
        return self.tokens[language] / self.examples if self.examples else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusInfo:
    """The contents of `corpus.json`.

    Attributes:
      name: directory name in the store.
      languages: one language, or two in the order of a record's sequences.
      vocabulary: fingerprint of the vocabulary that made the ids.
      vocabulary_size: number of ids, sentinels included.
      segment_tokens: length of a full segment; None for pairs.
      source: fingerprint of the source's settings; equal settings need not be prepared again.
      splits: `{split: SplitInfo}`.
      examples_per_record: segments or pairs in every ArrayRecord record but a file's last.
    """

    name: str
    languages: tuple[str, ...]
    vocabulary: str
    vocabulary_size: int
    segment_tokens: int | None
    source: str
    splits: Mapping[str, SplitInfo]
    examples_per_record: int = 1


_open_files_of_this_process = OpenFiles()


class StoredSplit(Sequence):
    """Random access to the records of one split. Opens a file only when a record is read.

    `split[i]` is a tuple of read-only int32 arrays: (segment,) or (ids of languages[0], ids of
    languages[1]). Safe for threads, picklable.

    Attributes:
      directory: the corpus directory.
      info: what `corpus.json` says about this split.
      examples_per_record: as `CorpusInfo` says.
    """

    def __init__(
        self,
        directory: str,
        info: SplitInfo,
        *,
        examples_per_record: int = 1,
        open_files: OpenFiles | None = None,
    ):
        self.directory = directory
        self.info = info
        self.examples_per_record = examples_per_record
        self._open_files = open_files
        self._paths = [os.path.join(directory, shard.file) for shard in info.shards]
        self._ends = list(itertools.accumulate(shard.num_records for shard in info.shards))

    def __len__(self) -> int:
        return self.info.num_records

    def __getitem__(  # pyright: ignore[reportIncompatibleMethodOverride] - no slices
        self, index: int
    ) -> tuple[np.ndarray, ...]:
        index = int(index)
        if not 0 <= index < self.info.num_records:
            raise IndexError(f"{self.directory}: record {index} of {self.info.num_records}")
        shard = bisect.bisect_right(self._ends, index)
        num_records = self.info.shards[shard].num_records
        offset = index - (self._ends[shard] - num_records)
        open_files = self._open_files
        if open_files is None:
            open_files = _open_files_of_this_process
        each = self.examples_per_record
        reader = open_files.reader(self._paths[shard], num_records=-(-num_records // each))
        try:
            if each == 1:
                return decode_record(reader.read([offset])[0])
            return example_of_group(reader.read([offset // each])[0], offset % each)
        except Exception as error:  # Riegeli found damage, or the record is none of ours
            raise DataError(
                f"store: shard {self._paths[shard]}: record {offset} cannot be read ({error}); "
                "delete its directory and run `nmt5 prepare` again"
            ) from error

    def __getstate__(self):
        return self.__dict__ | {"_open_files": None}


def corpus_directory(store_root: os.PathLike | str, corpus: str) -> epath.Path:
    """Returns the directory of a corpus, whether it exists or not."""
    return epath.Path(store_root).expanduser() / corpus


def list_corpora(store_root: os.PathLike | str) -> list[str]:
    """Returns the names of all complete corpora of a store, sorted; empty if there is no store."""
    root = epath.Path(store_root).expanduser()
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if (entry / CORPUS_FILE).exists())


def corpus_exists(store_root: os.PathLike | str, corpus: str) -> bool:
    """Tells whether a corpus is complete, that is, whether its `corpus.json` was written."""
    return (corpus_directory(store_root, corpus) / CORPUS_FILE).exists()


def read_corpus_info(store_root: os.PathLike | str, corpus: str) -> CorpusInfo:
    """Reads the `corpus.json` of a corpus.

    Raises:
      DataError: no such corpus (the message has the directory and the nearest names), or the file
        is of another format.
    """
    directory = corpus_directory(store_root, corpus)
    path = directory / CORPUS_FILE
    if not path.exists():
        missing = unknown_name("corpus", corpus, list_corpora(store_root))
        raise DataError(f"store: {path} does not exist; make it with `nmt5 prepare` ({missing})")
    remedy = f"delete {directory} and run `nmt5 prepare` again"
    found = read_json(path, what="corpus description", remedy=remedy)
    try:
        if found["format"] != FORMAT:
            raise DataError(f"store: {path}: format {found['format']}, expected {FORMAT}; {remedy}")
        del found["format"]
        found["languages"] = tuple(found["languages"])
        found["splits"] = {name: _split_info(fields) for name, fields in found["splits"].items()}
        return CorpusInfo(**found)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"store: {path} is no corpus description ({error!r}); {remedy}") from error


def _split_info(fields: dict) -> SplitInfo:
    shards = tuple(ShardInfo(**shard) for shard in fields.pop("shards"))
    return SplitInfo(shards=shards, **fields)


def write_corpus_info(store_root: os.PathLike | str, info: CorpusInfo) -> None:
    """Writes `corpus.json`, after which the corpus exists. Raises `StorageError`."""
    path = corpus_directory(store_root, info.name) / CORPUS_FILE
    write_json(path, {"format": FORMAT} | dataclasses.asdict(info))


def open_split(
    store_root: os.PathLike | str,
    corpus: str,
    split: str,
    *,
    open_files: OpenFiles | None = None,
    info: CorpusInfo | None = None,
) -> StoredSplit:
    """Returns random access to a split of a stored corpus.

    Args:
      store_root: directory that holds the corpus directories, on a local disk.
      corpus: name of the corpus.
      split: name of the split.
      open_files: readers to share; by default all splits of a process share 128.
      info: the corpus description, if the caller has read it already.

    Raises:
      DataError: no such corpus or split.
      StorageError: the store is not on a local disk.
    """
    if "://" in os.fspath(store_root):
        raise StorageError(
            f"store: {store_root}: ArrayRecord files are read from a local disk only; copy the "
            "store to this machine and name the copy"
        )
    info = info or read_corpus_info(store_root, corpus)
    if split not in info.splits:
        directory = corpus_directory(store_root, corpus)
        raise DataError(f"store: {directory}: {unknown_name('split', split, info.splits)}")
    directory = os.fspath(corpus_directory(store_root, corpus))
    return StoredSplit(
        directory,
        info.splits[split],
        examples_per_record=info.examples_per_record,
        open_files=open_files,
    )


def verify_corpus(store_root: os.PathLike | str, corpus: str) -> None:
    """Compares every shard of a corpus with the checksum in its `corpus.json`.

    Raises:
      DataError: lists each missing or altered shard.
    """
    info = read_corpus_info(store_root, corpus)
    directory = corpus_directory(store_root, corpus)
    faults = []
    for shard in (shard for split in info.splits.values() for shard in split.shards):
        path = directory / shard.file
        if not path.exists():
            faults.append(f"{shard.file} is missing")
        elif file_sha256(path) != shard.sha256:
            faults.append(f"{shard.file} was altered")
    if faults:
        raise DataError(
            f"store: {directory}: {'; '.join(faults)}; delete it and run `nmt5 prepare` again"
        )


def file_sha256(path: os.PathLike | str) -> str:
    """Returns the SHA-256 of a file, read in pieces. Raises `StorageError`."""
    digest = hashlib.sha256()
    with storage_faults("reading", path), epath.Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
