"""Zarr arrays in a directory or in an OCDBT database, read and written through TensorStore.

T5X's legacy checkpoints keep one Zarr directory per array, Orbax the same or one OCDBT database.
Array names are state paths joined with '.'.
"""

from collections.abc import Mapping
import json
import math
import os
import re
from typing import Any

from etils import epath
import numpy as np
import tensorstore as ts

from nmt5.checkpoints.tensors import (
    DTYPES,
    TensorReader,
    TensorSpec,
    checked_shape,
)
from nmt5.core.errors import CheckpointError

CHUNK_BYTES = 64 * 2**20
OCDBT_MANIFEST = "manifest.ocdbt"
_METADATA_FILES = {".zarray": "zarr", "zarr.json": "zarr3"}
_MAX_METADATA_BYTES = 2**20


def kvstore_spec(path: os.PathLike | str, *, ocdbt: bool) -> dict[str, Any]:
    """Returns TensorStore's description of a directory, local or on Google Cloud Storage."""
    text = os.fspath(path).rstrip("/") + "/"
    if match := re.fullmatch(r"gs://([^/]+)/(.*)", text):
        base = {"driver": "gcs", "bucket": match[1], "path": match[2]}
    else:
        base = {"driver": "file", "path": os.path.abspath(text) + "/"}
    return {"driver": "ocdbt", "base": base} if ocdbt else base


class ArrayStoreReader(TensorReader):
    """All Zarr arrays below one directory.

    Attributes:
      absent_chunks: `{array name: number of chunks}` not stored. Zarr reads them as zeros, which
        is what a half-copied checkpoint looks like.
    """

    def __init__(self, path: os.PathLike | str):
        """Lists the arrays and reads their shapes, not their content.

        Raises:
          CheckpointError: no array found, or damaged metadata.
        """
        self.source = os.fspath(path)
        self._base = kvstore_spec(path, ocdbt=(epath.Path(path) / OCDBT_MANIFEST).exists())
        self._open: dict[str, ts.TensorStore] = {}
        try:
            store = ts.KvStore.open(self._base).result()
            keys = [key.decode("utf-8") for key in store.list().result()]
            metadata = {
                key: store.read(key) for key in keys if key.rsplit("/", 1)[-1] in _METADATA_FILES
            }
            contents = {key: bytes(future.result().value) for key, future in metadata.items()}
        except (ValueError, OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{self.source}: {_first_line(error)}") from error
        self._drivers: dict[str, tuple[str, str]] = {}
        self._orders: dict[str, str] = {}
        specs: dict[str, TensorSpec] = {}
        self.absent_chunks: dict[str, int] = {}
        chunk_counts = _chunk_counts(keys)
        for key, content in contents.items():
            directory, file = key.rsplit("/", 1) if "/" in key else ("", key)
            driver = _METADATA_FILES[file]
            where = f"{self.source}: array '{directory}'"
            spec, num_chunks, order = _array_spec(content, driver=driver, where=where)
            name = directory.replace(".", "/")
            if name in specs:
                raise CheckpointError(f"{where}: stored twice")
            specs[name] = spec
            self._drivers[name], self._orders[name] = (directory, driver), order
            absent = num_chunks - chunk_counts.get(directory, 0)
            if absent > 0:
                self.absent_chunks[name] = absent
        if not specs:
            raise CheckpointError(f"{self.source}: holds no arrays")
        self.specs = dict(sorted(specs.items()))

    def _array(self, name: str) -> ts.TensorStore:
        if name not in self._open:
            directory, driver = self._drivers[name]
            spec = {"driver": driver, "kvstore": self._base | _with_path(self._base, directory)}
            self._open = {name: ts.open(spec, read=True, open=True).result()}
        return self._open[name]

    def read(self, name: str) -> np.ndarray:
        """See `TensorReader.read`."""
        try:
            # Laid out as it is stored, so that nothing is turned on the way.
            return np.asarray(self._array(name).read(order=self._orders[name]).result())
        except (ValueError, OSError) as error:
            raise CheckpointError(
                f"{self.source}: array '{name}' cannot be read: {_first_line(error)}"
            ) from error

    def read_rows(self, name: str, *, start: int, stop: int) -> np.ndarray:
        """See `TensorReader.read_rows`."""
        try:
            return np.asarray(self._array(name)[start:stop].read().result())
        except (ValueError, OSError) as error:
            raise CheckpointError(
                f"{self.source}: array '{name}' cannot be read: {_first_line(error)}"
            ) from error


def _with_path(base: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Returns the base's fields changed so that it points at one array."""
    if base["driver"] == "ocdbt":
        return {"path": f"{directory}/"}
    return {"path": f"{base['path']}{directory}/"}


def _chunk_counts(keys: list[str]) -> dict[str, int]:
    """Returns how many chunks each array has, from the keys of the store."""
    counts: dict[str, int] = {}
    for key in keys:
        directory, _, file = key.partition("/")
        if re.fullmatch(r"(c/)?\d+([./]\d+)*|c", file):
            counts[directory] = counts.get(directory, 0) + 1
    return counts


def _array_spec(content: bytes, *, driver: str, where: str) -> tuple[TensorSpec, int, str]:
    """Returns an array's spec, number of chunks and order ("C", "F") from its metadata file."""
    try:
        if len(content) > _MAX_METADATA_BYTES:
            raise ValueError("too long")
        metadata = json.loads(content)
        shape = checked_shape(metadata["shape"], where=where)
        if driver == "zarr":
            chunks, dtype = metadata["chunks"], str(metadata["dtype"])
            order = metadata.get("order", "C")
            dtype = dtype if dtype == "bfloat16" else np.dtype(dtype).name
            if str(metadata["dtype"]).startswith(">"):
                raise ValueError("big-endian")
        else:
            chunks = metadata["chunk_grid"]["configuration"]["chunk_shape"]
            dtype, order = metadata["data_type"], "C"
        chunks = checked_shape(chunks, where=where)
        if (
            dtype not in DTYPES
            or len(chunks) != len(shape)
            or 0 in chunks
            or order not in ("C", "F")
        ):
            raise ValueError(f"dtype {dtype}, shape {shape}, chunks {chunks}, order {order}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{where}: damaged metadata ({str(error)[:200]})") from error
    spec = TensorSpec(shape, DTYPES[dtype])
    if math.prod(chunks) * spec.dtype.itemsize > max(2**31, 2 * spec.num_bytes):
        raise CheckpointError(f"{where}: chunks of {list(chunks)} for {spec}; damaged metadata")
    return spec, math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True)), order


def chunk_shape(shape: tuple[int, ...], *, itemsize: int) -> tuple[int, ...]:
    """Returns chunks of at most 64 MiB, made by cutting the largest axis to its next divisor.

    This is how T5X cuts host arrays.

    >>> chunk_shape((250112, 768), itemsize=4)
    (15632, 768)
    """
    chunks = list(shape)
    while math.prod(chunks) * itemsize > CHUNK_BYTES:
        axis = max(range(len(chunks)), key=chunks.__getitem__)
        size = chunks[axis]
        chunks[axis] = next(d for d in range(size - 1, 0, -1) if shape[axis] % d == 0)
    return tuple(chunks)


class ArrayStoreWriter:
    """Writes Zarr arrays into a directory or an OCDBT database, a slab at a time."""

    def __init__(self, path: os.PathLike | str, *, ocdbt: bool):
        self.path = os.fspath(path)
        self._base = kvstore_spec(path, ocdbt=ocdbt)
        # A cache would only hold whole chunks twice. Nothing is synced to disk array by array: the
        # checkpoint counts as written only when its directory gets its name.
        context = {"cache_pool": {"total_bytes_limit": 0}, "file_io_sync": False}
        self._context = ts.Context(context)
        # A database is rewritten at each commit, so small arrays are committed together.
        self._transaction = ts.Transaction() if ocdbt else None
        self._pending_bytes = 0

    def write(self, name: str, values: np.ndarray) -> dict[str, Any]:
        """Writes one array; weights hardly compress, so they are stored as they are.

        Args:
          name: state path joined with '/'.
          values: the array; may be a transposed view.

        Returns:
          The Zarr metadata, as T5X's `checkpoint` file repeats it.

        Raises:
          CheckpointError: TensorStore cannot write, for example on a full disk.
        """
        directory = name.replace("/", ".")
        turned = values.ndim == 2 and values.flags.f_contiguous and not values.flags.c_contiguous
        shape = values.shape[::-1] if turned else values.shape
        chunks = chunk_shape(shape, itemsize=values.dtype.itemsize)
        chunks = chunks[::-1] if turned else chunks
        metadata = {
            "shape": list(values.shape),
            "chunks": list(chunks),
            "compressor": None,
            "order": "F" if turned else "C",
            "dtype": values.dtype.name if values.dtype.name == "bfloat16" else values.dtype.str,
        }
        spec = {
            "driver": "zarr",
            "kvstore": self._base | _with_path(self._base, directory),
            "metadata": metadata,
        }
        try:
            array = ts.open(
                spec, create=True, open=True, context=self._context, transaction=self._transaction
            ).result()
            if not values.shape:
                array.write(values).result()
                self._count(values.nbytes)
                return metadata
            for begin in np.ndindex(*(-(-n // c) for n, c in zip(values.shape, chunks))):
                part = tuple(slice(b * c, (b + 1) * c) for b, c in zip(begin, chunks))
                piece = values[part]
                array[part].write(piece, can_reference_source_data_indefinitely=True).result()
                if self._count(piece.nbytes):
                    array = array.with_transaction(self._transaction)
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.path}: writing '{name}': {_first_line(error)}") from error
        return metadata

    def _count(self, num_bytes: int) -> bool:
        """Commits what is pending if it is a chunk's worth; tells whether it did."""
        self._pending_bytes += num_bytes
        if self._pending_bytes < CHUNK_BYTES:
            return False
        return self.flush()

    def flush(self) -> bool:
        """Writes what is pending; tells whether a new transaction began.

        Raises:
          CheckpointError: TensorStore cannot write.
        """
        self._pending_bytes = 0
        if self._transaction is None:
            return False
        try:
            self._transaction.commit_async().result()
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.path}: {_first_line(error)}") from error
        self._transaction = ts.Transaction()
        return True


def _first_line(error: Exception) -> str:
    return (
        str(error).split("[source locations", 1)[0].strip().splitlines()[0][:400]
        if str(error)
        else type(error).__name__
    )
