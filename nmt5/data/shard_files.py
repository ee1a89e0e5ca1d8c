"""One ArrayRecord file of a store: what its records look like, writing them, reading at random.

An example is a tuple of id sequences. A record holds one example, or several behind a table of
where each ends, because every record costs 2.5 us to write under Python's lock, however short.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
import os
import threading

from array_record.python import array_record_module
import numpy as np

from nmt5.core.errors import DataError, StorageError

# Measured with 1,137-id segments and pairs of 5 to 60 ids per side; one thread reads at random.
# Segments: group 1 zstd:1 17 us, 46% of raw size; uncompressed 9 us, 102%; group 4 28 us, 41%.
# Pairs, one to a record: group 16 zstd:1 13 us, 48%; group 1 uncompressed 38 us, 123%.
SEGMENT_WRITER_OPTIONS = "group_size:1,zstd:1"
PAIR_WRITER_OPTIONS = "group_size:16,zstd:1"
# Sixteen pairs to a record are read as fast as groups of sixteen records, and written faster.
GROUPED_WRITER_OPTIONS = "group_size:1,zstd:1"
# Without these a reader owns threads and 16 MB of read-ahead.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"

DEFAULT_OPEN_FILES = 128


def encode_record(sequences: Sequence[np.ndarray]) -> bytes:
    """Packs the id sequences of one example: count, lengths, then all ids, little-endian int32.

    >>> len(encode_record([np.array([7, 8]), np.array([9])]))  # 2 | 2 1 | 7 8 9
    24

    Ids are left four bytes wide: the shard's zstd takes the zeros out again, and decoding is then
    one view (0.3 us for 1,137 ids against 15 us for three-byte ids).
    """
    head = np.array([len(sequences), *map(len, sequences)], dtype="<i4")
    return head.tobytes() + b"".join(np.asarray(ids, dtype="<i4").tobytes() for ids in sequences)


def decode_record(record: bytes | np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the id sequences of an example as read-only int32 views of it.

    >>> [ids.tolist() for ids in decode_record(encode_record([np.array([7, 8]), np.array([9])]))]
    [[7, 8], [9]]
    """
    values = np.frombuffer(record, dtype="<i4")
    count = int(values[0])
    sequences, start = [], 1 + count
    for length in values[1:start].tolist():
        sequences.append(values[start : start + length])
        start += length
    return tuple(sequences)


def group_records(content: bytes | memoryview, ends: np.ndarray, *, each: int) -> Iterator[bytes]:
    """Yields records of `each` examples, the last one of what is left.

    A record is a table, then its examples as `encode_record` makes them: the table has the number
    of examples and where each ends, in int32 values behind the table.

    >>> content = encode_record([np.array([8, 9])]) + encode_record([np.array([7])])
    >>> (record,) = group_records(content, np.array([4, 7]), each=16)
    >>> np.frombuffer(record, "<i4").tolist()  # 2 examples, end at 4 and 7 | 1 2 8 9 | 1 1 7
    [2, 4, 7, 1, 2, 8, 9, 1, 1, 7]

    Args:
      content: examples in the order of the records, each as `encode_record` makes it.
      ends: int array (examples,), where each ends in `content`, in int32 values.
      each: examples to a record.
    """
    content = memoryview(content)
    start = 0
    for first in range(0, len(ends), each):
        some = ends[first : first + each]
        table = np.empty(1 + len(some), "<i4")
        table[0] = len(some)
        np.subtract(some, start, out=table[1:], casting="same_kind")
        end = int(some[-1])
        yield b"".join([table, content[4 * start : 4 * end]])
        start = end


def example_of_group(record: bytes, index: int) -> tuple[np.ndarray, ...]:
    """Returns the id sequences of one example of a record that `group_records` made."""
    values = np.frombuffer(record, dtype="<i4")
    behind = int(values[0]) + 1
    start = int(values[index]) if index else 0
    return decode_record(values[behind + start : behind + int(values[index + 1])])


def write_records(path: str, records: Iterable[bytes], *, options: str) -> int:
    """Writes an ArrayRecord file and returns how many records it has.

    Raises:
      StorageError: it cannot be written, most often for want of space.
    """
    writer = array_record_module.ArrayRecordWriter(path, options)
    num_records = 0
    try:
        for record in records:
            writer.write(record)
            num_records += 1
    except RuntimeError as error:  # the bindings raise it with whatever Riegeli reports
        raise StorageError(f"store: writing {path}: {error}") from error
    finally:
        try:
            writer.close()
        except RuntimeError as error:
            raise StorageError(f"store: writing {path}: {error}") from error
    return num_records


class OpenFiles:
    """The most recently used ArrayRecord readers, at most `limit`; shared by many splits.

    Safe for threads: a reader that is dropped while another thread reads from it closes when that
    read ends. Not pickled with a split: each process has its own.
    """

    def __init__(self, limit: int = DEFAULT_OPEN_FILES):
        self.limit = limit
        self._readers = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._readers)

    def reader(self, path: str, *, num_records: int) -> array_record_module.ArrayRecordReader:
        """Returns an open reader of `path`.

        Raises:
          DataError: the file is missing, truncated, or holds another number of records.
        """
        with self._lock:
            reader = self._readers.get(path)
            if reader is not None:
                self._readers.move_to_end(path)
                return reader
            # Opened under the lock: two threads that miss together must not open it twice.
            reader = _open_reader(path, num_records=num_records)
            while len(self._readers) >= self.limit:
                self._readers.popitem(last=False)
            self._readers[path] = reader
            return reader


def _open_reader(path: str, *, num_records: int) -> array_record_module.ArrayRecordReader:
    remedy = "delete its directory and run `nmt5 prepare` again"
    if not os.path.exists(path):
        raise DataError(f"store: shard {path} does not exist; {remedy}")
    try:
        reader = array_record_module.ArrayRecordReader(path, _READER_OPTIONS)
        found = reader.num_records()
    except Exception as error:  # the bindings raise whatever Riegeli reports
        raise DataError(f"store: shard {path} cannot be read ({error}); {remedy}") from error
    if found != num_records:
        raise DataError(f"store: shard {path}: {found} records, expected {num_records}; {remedy}")
    return reader
