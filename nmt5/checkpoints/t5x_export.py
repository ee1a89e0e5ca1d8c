"""Writing T5X's legacy format, and Orbax directories that T5X, Orbax and nmt5 restore.

Orbax itself writes a whole tree at once; here arrays arrive one at a time, so the same files are
written directly: Zarr arrays in one OCDBT database, and two small JSON files that describe them.
"""

from collections.abc import Mapping
import json
import os
import time
from typing import Any

from etils import epath
import msgpack
import numpy as np

from nmt5.checkpoints.array_store import ArrayStoreWriter
from nmt5.checkpoints.t5x import CHECKPOINT_FILE, DESCRIPTION_ITEM, STATE_ITEM
from nmt5.core.files import write_bytes, write_json
from nmt5.core.pytrees import unflatten_paths

_ARRAY_EXTENSION = 1
_VERSION = 3
_STANDARD = "orbax.checkpoint._src.handlers.standard_checkpoint_handler.StandardCheckpointHandler"
_JSON = "orbax.checkpoint._src.handlers.json_checkpoint_handler.JsonCheckpointHandler"
_DICTIONARY_KEY = 2  # Orbax's KeyType.DICT
_INLINE_ELEMENTS = 1


class LegacyWriter:
    """Writes `checkpoint` and Zarr directories, in the layout of T5X's `Checkpointer`."""

    def __init__(self, path: os.PathLike | str):
        self._path = epath.Path(path)
        self._arrays = ArrayStoreWriter(path, ocdbt=False)
        self._leaves: dict[str, Any] = {}

    def write(self, name: str, values: np.ndarray) -> None:
        """Writes one leaf; scalars and single elements go into the MessagePack file."""
        if values.size <= _INLINE_ELEMENTS:
            packed = (values.shape, values.dtype.name, values.tobytes())
            content = msgpack.packb(packed, use_bin_type=True)
            self._leaves[name] = msgpack.ExtType(_ARRAY_EXTENSION, content)
            return
        metadata = self._arrays.write(name, values)
        self._leaves[name] = {
            "driver": "zarr",
            "dtype": values.dtype.name,
            "kvstore": {"driver": "file", "path": name.replace("/", ".")},
            "metadata": metadata,
        }

    def finish(self) -> None:
        """Writes the `checkpoint` file, without which the directory is no checkpoint."""
        tree = {"version": _VERSION, "optimizer": unflatten_paths(self._leaves)}
        write_bytes(self._path / CHECKPOINT_FILE, msgpack.packb(tree, use_bin_type=True))


class OrbaxWriter:
    """Writes `state/` as one OCDBT database, as Orbax's StandardSave does."""

    def __init__(self, path: os.PathLike | str):
        """Begins a checkpoint.

        Args:
          path: an existing directory that will be `checkpoint_<step>`.
        """
        self._path = epath.Path(path)
        self._state = self._path / STATE_ITEM
        self._state.mkdir(parents=True, exist_ok=True)
        self._arrays = ArrayStoreWriter(self._state, ocdbt=True)
        self._names: list[str] = []
        self._items: dict[str, str] = {STATE_ITEM: _STANDARD}
        self._started = time.time_ns()

    def write(self, name: str, values: np.ndarray) -> None:
        """Writes one leaf."""
        self._arrays.write(name, values)
        self._names.append(name)

    def write_description(self, description: Mapping[str, Any]) -> None:
        """Adds the JSON item that makes the checkpoint nmt5's own."""
        path = self._path / DESCRIPTION_ITEM
        path.mkdir()
        write_bytes(path / "metadata", json.dumps(description).encode())
        self._items[DESCRIPTION_ITEM] = _JSON

    def finish(self) -> None:
        """Writes Orbax's metadata, without which the directory is no checkpoint."""
        self._arrays.flush()
        tree = {}
        for name in self._names:
            keys = name.split("/")
            tree[str(tuple(keys))] = {
                "key_metadata": [{"key": key, "key_type": _DICTIONARY_KEY} for key in keys],
                "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
            }
        metadata = {
            "tree_metadata": tree,
            "use_ocdbt": True,
            "use_zarr3": False,
            "store_array_data_equal_to_fill_value": True,
            "custom_metadata": None,
        }
        write_bytes(self._state / "_METADATA", json.dumps(metadata).encode())
        checkpoint = {
            "item_handlers": self._items,
            "metrics": {},
            "performance_metrics": {},
            "init_timestamp_nsecs": self._started,
            "commit_timestamp_nsecs": time.time_ns(),
            "custom_metadata": {},
        }
        write_json(self._path / "_CHECKPOINT_METADATA", checkpoint)
