"""A checkpoint seen as named tensors, none of which is loaded before it is asked for.

Every format is read through a `TensorReader`. Formats that keep plain bytes in a file (safetensors,
PyTorch, MessagePack) only have to say where: they give `StoredTensor`s to a `StoredTensorReader`.
"""

import abc
from collections.abc import Iterator, Mapping
import dataclasses
import math
import os
import zlib

from etils import epath
import ml_dtypes
import numpy as np

from nmt5.core.errors import CheckpointError
from nmt5.core.files import storage_faults

SLAB_BYTES = 32 * 2**20
MAX_RANK = 8
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

FLOAT_DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": BFLOAT16,
    "float16": np.dtype(np.float16),
    "float64": np.dtype(np.float64),
}
DTYPES = FLOAT_DTYPES | {
    name: np.dtype(name)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
}


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Shape and element type of a tensor that need not be in memory."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


class TensorReader(abc.ABC):
    """Named tensors of one checkpoint.

    Attributes:
      source: what the checkpoint is called in messages, usually its path.
      specs: every tensor's name, in the order in which reading is cheapest.
    """

    source: str
    specs: Mapping[str, TensorSpec]

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Returns one tensor.

        Raises:
          CheckpointError: the bytes are missing or damaged.
        """

    def read_rows(self, name: str, *, start: int, stop: int) -> np.ndarray:
        """Returns `read(name)[start:stop]`; formats that can, load only those rows."""
        return self.read(name)[start:stop]


class RandomAccessFile:
    """A local or remote file read at given offsets, never past its end."""

    def __init__(self, path: os.PathLike | str):
        self.path = epath.Path(path)
        with storage_faults("reading the checkpoint", self.path):
            self._file = self.path.open("rb")
            self._file.seek(0, os.SEEK_END)
            self.size = self._file.tell()

    def __enter__(self) -> "RandomAccessFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_at(self, offset: int, num_bytes: int) -> bytearray:
        """Returns exactly `num_bytes` from `offset`.

        Raises:
          CheckpointError: the range leaves the file; nothing is allocated then.
        """
        if offset < 0 or num_bytes < 0 or offset + num_bytes > self.size:
            raise CheckpointError(
                f"{self.path}: bytes {offset}..{offset + num_bytes} are needed, but the file has "
                f"{self.size}; it is truncated or damaged, fetch it again"
            )
        content = bytearray(num_bytes)
        self._file.seek(offset)
        view = memoryview(content)
        while view:
            count = self._file.readinto(view)
            if not count:
                raise CheckpointError(f"{self.path}: ended early while it was read")
            view = view[count:]
        return content


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where a tensor's bytes lie.

    Attributes:
      spec: shape and element type.
      file: name of the file, a key of the reader's table of files.
      extents: (offset, number of bytes) of the pieces, in C order of the stored axes.
      axes: order of the stored axes; (1, 0) for a matrix stored transposed. None: as in `spec`.
      crc32: checksum of all pieces together, where the format has one.
    """

    spec: TensorSpec
    file: str
    extents: tuple[tuple[int, int], ...]
    axes: tuple[int, ...] | None = None
    crc32: int | None = None


class StoredTensorReader(TensorReader):
    """Reads tensors from byte ranges of files. Keeps no file open."""

    def __init__(self, tensors: Mapping[str, StoredTensor], *, files: Mapping[str, epath.Path]):
        """Checks that all byte ranges add up.

        Args:
          tensors: every tensor by name.
          files: path of each file that the tensors name.

        Raises:
          CheckpointError: a tensor's pieces do not have the bytes that its shape needs.
        """
        self.source = ", ".join(str(path) for path in list(files.values())[:1])
        if len(files) > 1:
            self.source = str(next(iter(files.values())).parent)
        self._tensors = dict(tensors)
        self._files = dict(files)
        self.specs = {name: tensor.spec for name, tensor in self._tensors.items()}
        wrong = [
            f"  {name}: {tensor.spec} needs {tensor.spec.num_bytes} bytes, "
            f"has {sum(size for _, size in tensor.extents)}"
            for name, tensor in self._tensors.items()
            if sum(size for _, size in tensor.extents) != tensor.spec.num_bytes
        ]
        if wrong:
            raise CheckpointError(
                f"{self.source}: sizes contradict shapes, the file is damaged:\n" + "\n".join(wrong)
            )

    def read(self, name: str) -> np.ndarray:
        """See `TensorReader.read`."""
        tensor = self._tensors[name]
        with RandomAccessFile(self._files[tensor.file]) as file:
            if len(tensor.extents) == 1:
                content = file.read_at(*tensor.extents[0])
            else:
                content = bytearray(tensor.spec.num_bytes)
                done = 0
                for offset, size in tensor.extents:
                    content[done : done + size] = file.read_at(offset, size)
                    done += size
        if tensor.crc32 is not None and zlib.crc32(content) != tensor.crc32:
            raise CheckpointError(
                f"{file.path}: the bytes of '{name}' do not have the checksum stored beside them; "
                "fetch the file again"
            )
        values = np.frombuffer(content, dtype=tensor.spec.dtype)
        if tensor.axes is None:
            return values.reshape(tensor.spec.shape)
        stored_shape = tuple(tensor.spec.shape[axis] for axis in tensor.axes)
        return values.reshape(stored_shape).transpose(np.argsort(tensor.axes))

    def read_rows(self, name: str, *, start: int, stop: int) -> np.ndarray:
        """See `TensorReader.read_rows`."""
        tensor = self._tensors[name]
        if len(tensor.extents) != 1 or tensor.axes is not None or not tensor.spec.shape:
            return self.read(name)[start:stop]
        stop = min(stop, tensor.spec.shape[0])
        row_bytes = tensor.spec.num_bytes // max(1, tensor.spec.shape[0])
        with RandomAccessFile(self._files[tensor.file]) as file:
            content = file.read_at(
                tensor.extents[0][0] + start * row_bytes, (stop - start) * row_bytes
            )
        return np.frombuffer(content, dtype=tensor.spec.dtype).reshape(
            (stop - start, *tensor.spec.shape[1:])
        )


def checked_shape(shape: object, *, where: str) -> tuple[int, ...]:
    """Returns a shape read from a file as a tuple.

    Raises:
      CheckpointError: not a short list of sizes that could be a tensor's.
    """
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > MAX_RANK
        or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape)
        or math.prod(shape) >= 2**48
    ):
        raise CheckpointError(f"{where}: {str(shape)[:100]} is not a shape; the file is damaged")
    return tuple(shape)


def checked_file_name(name: object, *, where: str) -> str:
    """Returns the name of a file in the checkpoint's own directory.

    Raises:
      CheckpointError: the name is a path that could lead out of the directory.
    """
    if (
        not isinstance(name, str)
        or not name
        or name in (".", "..")
        or any(c in name for c in "/\\\0")
    ):
        raise CheckpointError(
            f"{where}: file name {str(name)[:200]!r} leads out of the checkpoint's directory; "
            "refused"
        )
    return name


def slabs(shape: tuple[int, ...], *, itemsize: int) -> Iterator[tuple[int, int]]:
    """Yields ranges of rows of about `SLAB_BYTES` that cover axis 0.

    >>> list(slabs((5, 4 * 2**20), itemsize=4))
    [(0, 2), (2, 4), (4, 5)]
    """
    if not shape:
        return
    row_bytes = max(1, math.prod(shape[1:]) * itemsize)
    step = max(1, SLAB_BYTES // row_bytes)
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def is_finite(values: np.ndarray) -> bool:
    """Tells whether an array holds neither NaN nor infinity.

    A float32 sum of squares runs at memory speed and is finite for sane weights; only where it is
    not, each element is looked at.
    """
    if values.dtype == np.float32 and values.flags.forc:
        flat = values.ravel(order="K")
        step = SLAB_BYTES // 4
        pieces = [flat[start : start + step] for start in range(0, flat.size, step)]
    else:
        pieces = [values[start:stop] for start, stop in slabs(values.shape, itemsize=4)]
        pieces = pieces or [values]
    for piece in pieces:
        if piece.dtype == np.float32:
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(np.dot(piece.ravel(), piece.ravel())):
                    continue
        if not np.isfinite(piece).all():
            return False
    return True
