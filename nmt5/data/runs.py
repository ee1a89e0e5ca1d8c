"""Sorted runs of encoded examples on disk: the external sort behind `nmt5 prepare`.

A corpus of any size is put into hash order with bounded memory. While text is encoded, examples
gather in memory as a `Block`; when that is full it is sorted by key and written as one *run*. A
shard of the store is a range of keys: it takes its slice of every run and sorts those. Keys come
from an example's position (source shard, index), not from its text, so that equal sentences do not
end up side by side.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
import os

import numpy as np

from nmt5.core.files import storage_faults

_KEY_RANGE = 1 << 64
_GATHERED_EXAMPLES = 4096


@dataclasses.dataclass(frozen=True)
class Block:
    """Encoded examples: example i is `lengths[i]` values after those of its predecessors.

    Attributes:
      keys: uint64 (examples,), the place of each example in the shuffled corpus.
      lengths: int64 (examples,).
      values: int32 (sum of lengths,).
    """

    keys: np.ndarray
    lengths: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def in_key_order(self) -> "Block":
        """Returns the examples by increasing key; those of equal keys keep their order."""
        order = np.argsort(self.keys, kind="stable")
        lengths = self.lengths[order]
        starts = (np.cumsum(self.lengths) - self.lengths)[order]
        values = np.empty_like(self.values)
        # Pieces bound the index array, which is twice as wide as the values that it picks.
        at = 0
        for piece in range(0, len(lengths), _GATHERED_EXAMPLES):
            sizes = lengths[piece : piece + _GATHERED_EXAMPLES]
            first = starts[piece : piece + _GATHERED_EXAMPLES]
            total = int(sizes.sum())
            index = np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
            index += np.arange(total)
            np.take(self.values, index, out=values[at : at + total])
            at += total
        return Block(self.keys[order], lengths, values)


def concatenate(blocks: Sequence[Block]) -> Block:
    """Returns one block with the examples of all."""
    if not blocks:
        return Block(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int32))
    return Block(
        np.concatenate([block.keys for block in blocks]),
        np.concatenate([block.lengths for block in blocks]),
        np.concatenate([block.values for block in blocks]),
    )


def name_seed(*names: str | int) -> int:
    """Returns 64 bits drawn from names, the same in every process and version of Python."""
    digest = hashlib.blake2b("\0".join(map(str, names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def position_keys(seed: int, first: int, count: int) -> np.ndarray:
    """Returns uint64 keys for the examples `first` .. `first + count - 1` of a source shard.

    The keys are outputs of the SplitMix64 generator (Steele, Lea and Flood, 2014, figure 15) whose
    state is `seed` advanced by the example's index, so they are distinct within a source shard.

    >>> int(position_keys(0, 0, 1)[0]) == 0xE220A8397B1DCDAF  # first output for seed 0
    True
    """
    with np.errstate(over="ignore"):
        index = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
        x = np.uint64(seed) + index * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def write_run(path: os.PathLike | str, block: Block) -> None:
    """Writes a block, sorted by key. Raises `StorageError`."""
    block = block.in_key_order()
    sizes = np.array([len(block), len(block.values)], np.int64)
    ends = np.cumsum(block.lengths, dtype=np.int64)
    with storage_faults("writing", path), open(path, "wb") as file:
        for part in (sizes, block.keys, ends, block.values):
            file.write(part)  # `tofile` would not say why it failed


def read_run(path: os.PathLike | str, *, shard: int, num_shards: int) -> Block:
    """Returns those examples of a run whose keys lie in the given share of the key range.

    Args:
      path: a file of `write_run`.
      shard: which of the `num_shards` equal ranges of keys, from 0.
      num_shards: the number of ranges.

    Raises:
      StorageError: the file is missing or unreadable.
    """
    with storage_faults("reading", path), open(path, "rb") as file:
        num_examples, _ = np.fromfile(file, np.int64, 2).tolist()
        begin = file.tell()
        if not num_examples:
            return concatenate([])
        # A shard is a small part of a run, and there are many shards: no more is read than that.
        all_keys = np.memmap(file, np.uint64, mode="r", offset=begin, shape=(num_examples,))
        low = int(np.searchsorted(all_keys, np.uint64(shard * _KEY_RANGE // num_shards)))
        high = num_examples
        if shard + 1 < num_shards:
            high = int(np.searchsorted(all_keys, np.uint64((shard + 1) * _KEY_RANGE // num_shards)))
        keys = np.array(all_keys[low:high])
        file.seek(begin + 8 * (num_examples + max(low - 1, 0)))
        ends = np.fromfile(file, np.int64, high - max(low - 1, 0))
        if low == 0:
            ends = np.concatenate([np.zeros(1, np.int64), ends])
        file.seek(begin + 16 * num_examples + 4 * int(ends[0]))
        values = np.fromfile(file, np.int32, int(ends[-1] - ends[0]))
    return Block(keys, np.diff(ends), values)
