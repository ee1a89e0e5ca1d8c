"""`pytorch_model.bin`: a zip of one pickle and flat storages, or the older stream of pickles.

Source:
  https://github.com/pytorch/pytorch/blob/v2.6.0/torch/serialization.py
"""

from collections.abc import Mapping
import io
import math
import os
from typing import BinaryIO
import zipfile

from etils import epath

from nmt5.checkpoints.tensors import DTYPES, RandomAccessFile, StoredTensor, TensorSpec
from nmt5.checkpoints.torch_pickle import PickledTensor, Storage, read_state_dict, storage_axes
from nmt5.core.errors import CheckpointError

_MAX_PICKLE_BYTES = 256 * 2**20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def parse_torch(path: os.PathLike | str) -> dict[str, StoredTensor]:
    """Returns where each tensor of a PyTorch state dict lies. Executes no pickle.

    Args:
      path: a file written by `torch.save(model.state_dict(), ...)`.

    Returns:
      Stored tensors by name; their `file` is the file's own name.

    Raises:
      CheckpointError: not such a file, truncated, or a pickle that is more than a state dict.
    """
    path = epath.Path(path)
    with RandomAccessFile(path) as file:
        zipped = bytes(file.read_at(0, min(4, file.size))) == b"PK\x03\x04"
        state, places = _zipped(file) if zipped else _legacy(file)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path}: holds no state dict")
    odd = [str(name) for name, value in state.items() if not isinstance(value, PickledTensor)]
    if odd:
        raise CheckpointError(f"{path}: no tensors: {', '.join(odd[:20])}")
    return {
        str(name): _stored(tensor, places, file=path.name, where=f"{path}: '{name}'")
        for name, tensor in state.items()
    }


def _stored(
    tensor: PickledTensor,
    places: Mapping[str, tuple[int, int, int | None]],
    *,
    file: str,
    where: str,
) -> StoredTensor:
    """Returns the byte range of a view.

    Args:
      tensor: the view.
      places: (offset, bytes, checksum) of each storage.
      file: the file's name.
      where: the tensor in messages.
    """
    dtype = DTYPES[tensor.storage.dtype]
    if tensor.storage.key not in places:
        raise CheckpointError(f"{where}: its storage '{tensor.storage.key[:50]}' is missing")
    begin, available, crc32 = places[tensor.storage.key]
    if tensor.storage.num_elements * dtype.itemsize != available:
        raise CheckpointError(
            f"{where}: storage of {tensor.storage.num_elements} {dtype.name} has {available} bytes"
        )
    size = math.prod(tensor.shape) * dtype.itemsize
    offset = begin + tensor.offset_elements * dtype.itemsize
    axes = storage_axes(tensor, where=where)
    whole = size == available
    spec = TensorSpec(tensor.shape, dtype)
    return StoredTensor(spec, file, ((offset, size),), axes, crc32 if whole else None)


def _zipped(file: RandomAccessFile):
    """Returns the state dict and storage places of a zip archive (PyTorch 1.6 and later)."""
    path = file.path
    places: dict[str, tuple[int, int, int | None]] = {}
    pickled = None
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                # The archive's root directory has any name; nothing is ever extracted.
                parts = entry.filename.split("/")
                if len(parts) < 2 or ".." in parts or parts[0] == "":
                    raise CheckpointError(
                        f"{path}: member '{entry.filename[:100]}' leads out of the archive; refused"
                    )
                inner = "/".join(parts[1:])
                if inner not in ("data.pkl", "byteorder") and not inner.startswith("data/"):
                    continue
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise CheckpointError(f"{path}: '{inner}' is compressed, not PyTorch's format")
                begin = _data_offset(file, entry)
                if inner == "data.pkl":
                    if entry.file_size > _MAX_PICKLE_BYTES:
                        raise CheckpointError(f"{path}: a pickle of {entry.file_size} bytes")
                    pickled = bytes(file.read_at(begin, entry.file_size))
                elif inner == "byteorder":
                    order = bytes(file.read_at(begin, min(entry.file_size, 16)))
                    if order != b"little":
                        raise CheckpointError(f"{path}: byte order {order!r}, expected little")
                else:
                    places[inner.removeprefix("data/")] = (begin, entry.file_size, entry.CRC)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path}: damaged or truncated zip archive ({error})") from error
    if pickled is None:
        raise CheckpointError(f"{path}: a zip archive without data.pkl, not a PyTorch file")
    return read_state_dict(io.BytesIO(pickled), where=str(path)), places


def _data_offset(file: RandomAccessFile, entry: zipfile.ZipInfo) -> int:
    """Returns where a stored member's bytes begin, behind its local header."""
    header = file.read_at(entry.header_offset, 30)
    if header[:4] != b"PK\x03\x04":
        raise CheckpointError(f"{file.path}: damaged zip member '{entry.filename[:100]}'")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    begin = entry.header_offset + 30 + names
    if entry.file_size != entry.compress_size or begin + entry.file_size > file.size:
        raise CheckpointError(f"{file.path}: zip member '{entry.filename[:100]}' is truncated")
    return begin


def _legacy(file: RandomAccessFile):
    """Returns the same for the format before PyTorch 1.6: pickles, then the storages in a row."""
    path = file.path
    with path.open("rb") as raw:
        stream = _BoundedStream(raw)
        head = [read_state_dict(stream, where=str(path)) for _ in range(2)]
        if head[0] != _LEGACY_MAGIC:
            raise CheckpointError(f"{path}: not a PyTorch file")
        info = read_state_dict(stream, where=str(path))
        if isinstance(info, dict) and info.get("little_endian") is False:
            raise CheckpointError(f"{path}: big-endian storages are not supported")
        state = read_state_dict(stream, where=str(path))
        keys = read_state_dict(stream, where=str(path))
        position = raw.tell()
    storages = _storages(state)
    if not isinstance(keys, list):
        raise CheckpointError(f"{path}: damaged list of storages")
    places: dict[str, tuple[int, int, int | None]] = {}
    for key in map(str, keys):
        if key not in storages:
            raise CheckpointError(f"{path}: storage '{key[:50]}' belongs to no tensor")
        num_elements = int.from_bytes(file.read_at(position, 8), "little", signed=True)
        size = storages[key].num_elements * DTYPES[storages[key].dtype].itemsize
        if num_elements != storages[key].num_elements or position + 8 + size > file.size:
            raise CheckpointError(f"{path}: storage '{key[:50]}' is truncated or damaged")
        places[key] = (position + 8, size, None)
        position += 8 + size
    return state, places


class _BoundedStream:
    """A stream that refuses absurd lengths before memory is taken for them."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_PICKLE_BYTES:
            raise ValueError(f"a string of {size} bytes")
        return self._stream.read(size)

    def readline(self) -> bytes:
        return self._stream.readline(4096)


def _storages(value: object) -> dict[str, Storage]:
    """Returns every storage that a state dict's tensors use, by key."""
    if isinstance(value, PickledTensor):
        return {value.storage.key: value.storage}
    found: dict[str, Storage] = {}
    if isinstance(value, dict):
        for item in value.values():
            found.update(_storages(item))
    return found
