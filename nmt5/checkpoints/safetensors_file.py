"""The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes.

Source:
  https://github.com/huggingface/safetensors/blob/v0.6.2/README.md#format
"""

from collections.abc import Mapping
import json
import math
import os

from etils import epath

from nmt5.checkpoints.tensors import (
    BFLOAT16,
    DTYPES,
    RandomAccessFile,
    StoredTensor,
    TensorSpec,
    checked_shape,
)
from nmt5.core.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000
_DTYPE_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_CODES = {DTYPES[name]: code for code, name in _DTYPE_NAMES.items()}


def parse_safetensors(path: os.PathLike | str) -> dict[str, StoredTensor]:
    """Returns where each tensor of a safetensors file lies.

    Args:
      path: the file.

    Returns:
      Stored tensors by name, in file order; their `file` is the file's own name.

    Raises:
      CheckpointError: header too long or not the format's, ranges that overlap, leave gaps or pass
        the end of the file, unknown element type.
    """
    path = epath.Path(path)
    with RandomAccessFile(path) as file:
        file_bytes = file.size
        header_bytes = int.from_bytes(file.read_at(0, 8), "little")
        if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, file_bytes - 8):
            raise CheckpointError(
                f"{path}: header of {header_bytes} bytes in a file of {file_bytes}; not a "
                "safetensors file, or truncated"
            )
        header = _json_object(file.read_at(8, header_bytes), where=str(path))
    header.pop("__metadata__", None)
    begin = 8 + header_bytes
    tensors = {
        name: _entry(entry, where=f"{path}: '{name}'", begin=begin, file=path.name)
        for name, entry in header.items()
    }
    tensors = dict(sorted(tensors.items(), key=lambda item: item[1].extents[0]))
    position = begin
    for name, tensor in tensors.items():
        offset, size = tensor.extents[0]
        if offset != position:
            raise CheckpointError(
                f"{path}: '{name}' begins at byte {offset}, expected {position}; tensors overlap "
                "or leave a gap, the file is damaged"
            )
        position += size
    if position != file_bytes:
        raise CheckpointError(
            f"{path}: the header describes {position} bytes, the file has {file_bytes}; it is "
            "truncated or damaged, fetch it again"
        )
    return tensors


def _json_object(content: bytes, *, where: str) -> dict:
    def unique(pairs):
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("a name occurs twice")
        return table

    try:
        header = json.loads(bytes(content).decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: damaged header ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{where}: damaged header (not an object)")
    return header


def _entry(entry: object, *, where: str, begin: int, file: str) -> StoredTensor:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise CheckpointError(f"{where}: damaged header entry {str(entry)[:100]}")
    code = entry["dtype"]
    if not isinstance(code, str) or code not in _DTYPE_NAMES:
        raise CheckpointError(f"{where}: element type {str(code)[:40]!r} is not supported")
    shape = checked_shape(entry["shape"], where=where)
    offsets = entry["data_offsets"]
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) for n in offsets)
        or not 0 <= offsets[0] <= offsets[1]
    ):
        raise CheckpointError(f"{where}: damaged data_offsets {str(offsets)[:100]}")
    spec = TensorSpec(shape, DTYPES[_DTYPE_NAMES[code]])
    return StoredTensor(spec, file, ((begin + offsets[0], offsets[1] - offsets[0]),))


def safetensors_layout(
    specs: Mapping[str, TensorSpec], *, metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """Returns the beginning of a safetensors file and the offset of each tensor after it.

    Args:
      specs: tensors in the order in which their bytes will follow.
      metadata: strings for `__metadata__`; `{"format": "pt"}` is what transformers writes.

    Returns:
      The header bytes, padded to a multiple of 8, and absolute offsets by name.
    """
    header: dict = {"__metadata__": dict(metadata)}
    offsets = {}
    position = 0
    for name, spec in specs.items():
        size = math.prod(spec.shape) * spec.dtype.itemsize
        code = "BF16" if spec.dtype == BFLOAT16 else _CODES[spec.dtype]
        header[name] = {
            "dtype": code,
            "shape": list(spec.shape),
            "data_offsets": [position, position + size],
        }
        offsets[name] = position
        position += size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    content = len(text).to_bytes(8, "little") + text
    return content, {name: begin + offset for name, offset in offsets.items()}
