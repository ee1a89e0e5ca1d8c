"""Flax's MessagePack files, scanned without loading the arrays in them.

Flax packs an array as extension type 1, whose payload is MessagePack again: (shape, dtype name,
bytes). Arrays beyond 2^30 bytes are cut into a dictionary of flat chunks. The scan keeps offsets,
so a file of any size costs memory only for the tensors that are read.

Source:
  https://github.com/google/flax/blob/v0.12.0/flax/serialization.py
  https://github.com/msgpack/msgpack/blob/master/spec.md
"""

import math
import os
import struct
from typing import Any

from etils import epath

from nmt5.checkpoints.tensors import (
    DTYPES,
    RandomAccessFile,
    StoredTensor,
    TensorSpec,
    checked_shape,
)
from nmt5.core.errors import CheckpointError

CHUNKED = "__msgpack_chunked_array__"
_MAX_DEPTH = 64
_MAX_NODES = 2_000_000
_MAX_STRING_BYTES = 2**20
_WINDOW_BYTES = 2**16
_EXT_ARRAY, _EXT_COMPLEX, _EXT_SCALAR = 1, 2, 3


def parse_msgpack(path: os.PathLike | str) -> Any:
    """Returns the tree in a Flax MessagePack file, with `StoredTensor`s for arrays.

    Args:
      path: the file; the tensors' `file` is its name.

    Returns:
      Nested dictionaries and lists of scalars, strings and stored tensors.

    Raises:
      CheckpointError: not MessagePack, truncated, or arrays whose sizes contradict their shapes.
    """
    path = epath.Path(path)
    with RandomAccessFile(path) as file:
        scanner = _Scanner(file)
        tree = scanner.value(0)
        if scanner.position != file.size:
            raise CheckpointError(
                f"{path}: {file.size - scanner.position} bytes follow the end of the data; damaged"
            )
        return _joined_chunks(tree, where=str(path))


class _Scanner:
    """Walks MessagePack values, stepping over array bytes."""

    def __init__(self, file: RandomAccessFile):
        self.file = file
        self.position = 0
        self._nodes = 0
        self._window = b""
        self._window_start = 0

    def fail(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.file.path}: {what} at byte {self.position}; not a Flax MessagePack file, or "
            "damaged"
        )

    def take(self, count: int) -> bytes:
        if self.position + count > self.file.size:
            raise self.fail(f"{count} bytes needed past the end (truncated)")
        offset = self.position - self._window_start
        if offset < 0 or offset + count > len(self._window):
            size = min(max(count, _WINDOW_BYTES), self.file.size - self.position)
            self._window = bytes(self.file.read_at(self.position, size))
            self._window_start, offset = self.position, 0
        self.position += count
        return self._window[offset : offset + count]

    def skip(self, count: int) -> int:
        """Steps over bytes and returns where they begin."""
        begin = self.position
        if begin + count > self.file.size:
            raise self.fail(f"{count} bytes needed past the end (truncated)")
        self.position += count
        return begin

    def number(self, code: str) -> Any:
        return struct.unpack(">" + code, self.take(struct.calcsize(code)))[0]

    def value(self, depth: int) -> Any:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise self.fail("nested too deeply or too many values")
        tag = self.number("B")
        if tag <= 0x7F:
            return tag
        if tag >= 0xE0:
            return tag - 256
        if tag <= 0x8F:
            return self.mapping(tag & 0x0F, depth)
        if tag <= 0x9F:
            return self.sequence(tag & 0x0F, depth)
        if tag <= 0xBF:
            return self.string(tag & 0x1F)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _NUMBERS:
            return self.number(_NUMBERS[tag])
        if tag in _SIZED:
            kind, code = _SIZED[tag]
            size = code if isinstance(code, int) else self.number(code)
            return getattr(self, kind)(size, depth)
        raise self.fail(f"unknown tag {tag:#x}")

    def text(self, size: int, depth: int) -> str:
        return self.string(size)

    def string(self, size: int) -> str:
        if size > _MAX_STRING_BYTES:
            raise self.fail(f"a string of {size} bytes")
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail("a string that is not UTF-8") from error

    def binary(self, size: int, depth: int) -> str:
        # Flax reads dictionary keys written as bytes too.
        return self.string(size)

    def sequence(self, size: int, depth: int) -> list:
        if size > self.file.size - self.position:
            raise self.fail(f"a list of {size} values")
        return [self.value(depth + 1) for _ in range(size)]

    def mapping(self, size: int, depth: int) -> dict:
        if size > self.file.size - self.position:
            raise self.fail(f"a dictionary of {size} values")
        table = {}
        for _ in range(size):
            key = self.value(depth + 1)
            if not isinstance(key, (str, int)) or isinstance(key, bool) or key in table:
                raise self.fail(f"dictionary key {str(key)[:80]!r} occurs twice or is no name")
            table[key] = self.value(depth + 1)
        return table

    def extension(self, size: int, depth: int) -> Any:
        kind = self.number("b")
        end = self.position + size
        if end > self.file.size:
            raise self.fail(f"an array of {size} bytes past the end (truncated)")
        if kind not in (_EXT_ARRAY, _EXT_SCALAR):
            raise self.fail(f"extension type {kind}, expected an array")
        if self.number("B") != 0x93:
            raise self.fail("damaged array")
        where = f"{self.file.path}: array at byte {self.position}"
        shape = checked_shape(self.value(depth + 1), where=where)
        name = self.value(depth + 1)
        if name not in DTYPES:
            raise self.fail(f"element type {str(name)[:40]!r} is not supported,")
        spec = TensorSpec(shape, DTYPES[name])
        tag = self.number("B")
        if tag not in (0xC4, 0xC5, 0xC6):
            raise self.fail("damaged array bytes")
        num_bytes = self.number({0xC4: "B", 0xC5: "H", 0xC6: "I"}[tag])
        begin = self.skip(num_bytes)
        if num_bytes != spec.num_bytes or self.position != end:
            raise self.fail(f"{num_bytes} bytes for {spec}, which needs {spec.num_bytes},")
        return StoredTensor(spec, self.file.path.name, ((begin, num_bytes),))


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q",
    0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q",
}  # fmt: skip
_SIZED = {
    0xC4: ("binary", "B"), 0xC5: ("binary", "H"), 0xC6: ("binary", "I"),
    0xC7: ("extension", "B"), 0xC8: ("extension", "H"), 0xC9: ("extension", "I"),
    0xD4: ("extension", 1), 0xD5: ("extension", 2), 0xD6: ("extension", 4),
    0xD7: ("extension", 8), 0xD8: ("extension", 16),
    0xD9: ("text", "B"), 0xDA: ("text", "H"), 0xDB: ("text", "I"),
    0xDC: ("sequence", "H"), 0xDD: ("sequence", "I"),
    0xDE: ("mapping", "H"), 0xDF: ("mapping", "I"),
}  # fmt: skip


def _joined_chunks(tree: Any, *, where: str) -> Any:
    """Replaces Flax's dictionaries of chunks by one stored tensor with several extents."""
    if not isinstance(tree, dict):
        return tree
    if CHUNKED not in tree:
        return {key: _joined_chunks(value, where=f"{where}.{key}") for key, value in tree.items()}
    shape = checked_shape(_tuple(tree.get("shape")), where=where)
    chunks = _tuple(tree.get("chunks")) or []
    if not chunks or not all(
        isinstance(c, StoredTensor) and len(c.spec.shape) == 1 for c in chunks
    ):
        raise CheckpointError(f"{where}: damaged chunked array")
    dtypes = {chunk.spec.dtype for chunk in chunks}
    if len(dtypes) != 1 or sum(c.spec.shape[0] for c in chunks) != math.prod(shape):
        raise CheckpointError(f"{where}: the chunks of an array do not add up to {list(shape)}")
    extents = tuple(extent for chunk in chunks for extent in chunk.extents)
    return StoredTensor(TensorSpec(shape, dtypes.pop()), chunks[0].file, extents)


def _tuple(table: object) -> list | None:
    """Returns the list that Flax wrote as {'0': ..., '1': ...}."""
    if not isinstance(table, dict):
        return None
    try:
        return [table[str(i)] for i in range(len(table))]
    except KeyError:
        return None
