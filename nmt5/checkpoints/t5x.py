"""T5X checkpoints: the legacy format (MessagePack and Zarr) and Orbax; nmt5's own are Orbax too."""

from collections.abc import Mapping
import json
import os
import re
from typing import Any

from etils import epath
import numpy as np

from nmt5.checkpoints.array_store import OCDBT_MANIFEST, ArrayStoreReader
from nmt5.checkpoints.msgpack_file import parse_msgpack
from nmt5.checkpoints.names import NameTable, t5x_scanned_table, t5x_unscanned_table
from nmt5.checkpoints.opened import SLOT_NAMES, OpenedCheckpoint, open_tensors
from nmt5.checkpoints.param_paths import StatedConfig
from nmt5.checkpoints.tensors import (
    BFLOAT16,
    StoredTensor,
    StoredTensorReader,
    TensorReader,
    TensorSpec,
    checked_file_name,
)
from nmt5.core.errors import CheckpointError, ConfigError
from nmt5.model.config import ModelConfig

LEGACY, ORBAX, NATIVE = "t5x", "t5x_orbax", "nmt5"
CHECKPOINT_FILE = "checkpoint"
STATE_ITEM, DESCRIPTION_ITEM = "state", "description"
# Tokenizer of a Hugging Face model that became a native checkpoint; inside of an item, because
# Orbax warns of directories that it does not know.
COMPANIONS_DIRECTORY = "description/huggingface"
CHECKPOINT_NAME = re.compile(r"checkpoint_(\d+)")
_VERSIONS = (2, 3)
_MAX_JSON_BYTES = 2**24


class LegacyReader(TensorReader):
    """Leaves of a legacy checkpoint: inline in the MessagePack file, or Zarr arrays beside it."""

    def __init__(self, path: os.PathLike | str):
        """Reads the tree of a `checkpoint` file, or of a single-file checkpoint.

        Raises:
          CheckpointError: version below 2, a leaf without an array, paths that leave the directory.
        """
        file = epath.Path(path)
        self.source = str(file.parent if file.name == CHECKPOINT_FILE else file)
        tree = parse_msgpack(file)
        if not isinstance(tree, dict) or "optimizer" not in tree or "version" not in tree:
            keys = sorted(map(str, tree))[:10] if isinstance(tree, dict) else type(tree).__name__
            raise CheckpointError(
                f"{file}: no T5X checkpoint: expected the keys 'version' and 'optimizer', "
                f"found {keys}"
            )
        self.version = _scalar(tree["version"], file)
        if self.version not in _VERSIONS:
            raise CheckpointError(f"{file}: T5X version {self.version}, expected 2 or 3")
        inline, stored = _leaves(tree["optimizer"], where=str(file))
        self._inline = StoredTensorReader(inline, files={file.name: file})
        self._arrays = ArrayStoreReader(file.parent) if stored else None
        self.absent_chunks: Mapping[str, int] = {}
        self._names: dict[str, str] = {}
        specs = dict(self._inline.specs)
        if self._arrays is not None:
            self._add_arrays(specs, stored)
        self.specs = specs

    def _add_arrays(self, specs: dict[str, TensorSpec], stored: Mapping[str, tuple]) -> None:
        missing, wrong = [], []
        arrays = self._arrays
        for path, (name, shape) in stored.items():
            key = name.replace(".", "/")
            if key not in arrays.specs:
                missing.append(f"  {path}: directory '{name}'")
                continue
            spec = arrays.specs[key]
            if shape is not None and shape != spec.shape:
                wrong.append(f"  {path}: {list(shape)} in the checkpoint file, {spec} stored")
            self._names[path] = key
            specs[path] = TensorSpec(spec.shape, BFLOAT16) if self._is_disguised(spec) else spec
        if missing or wrong:
            raise CheckpointError(
                f"{self.source}: arrays of the checkpoint file are missing or differ:\n"
                + "\n".join((missing + wrong)[:40])
            )
        known = set(self._names.values())
        self.absent_chunks = {
            path: arrays.absent_chunks[key]
            for path, key in self._names.items()
            if key in arrays.absent_chunks
        }
        self.strangers = sorted(set(arrays.specs) - known)
        if self.strangers:
            raise CheckpointError(
                f"{self.source}: arrays that the checkpoint file does not name: "
                + ", ".join(self.strangers[:20])
            )

    def _is_disguised(self, spec: TensorSpec) -> bool:
        # Version 2 kept bfloat16's bits in arrays of uint16.
        return self.version == 2 and spec.dtype == np.uint16

    def read(self, name: str) -> np.ndarray:
        """See `TensorReader.read`."""
        if name not in self._names:
            return self._inline.read(name)
        values = self._arrays.read(self._names[name])
        return values.view(BFLOAT16) if self._is_disguised_values(values) else values

    def read_rows(self, name: str, *, start: int, stop: int) -> np.ndarray:
        """See `TensorReader.read_rows`."""
        if name not in self._names:
            return self._inline.read_rows(name, start=start, stop=stop)
        values = self._arrays.read_rows(self._names[name], start=start, stop=stop)
        return values.view(BFLOAT16) if self._is_disguised_values(values) else values

    def _is_disguised_values(self, values: np.ndarray) -> bool:
        return self.version == 2 and values.dtype == np.uint16


def _scalar(value: Any, file: epath.Path) -> int:
    """Returns an integer that may have been packed as a NumPy scalar."""
    if isinstance(value, StoredTensor):
        value = StoredTensorReader({"x": value}, files={value.file: file}).read("x")
        value = int(value) if value.shape == () and value.dtype.kind in "iu" else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise CheckpointError(f"{file}: version is no number")
    return value


def _leaves(tree: Any, *, where: str):
    """Splits a state dict into inline tensors and the names of arrays.

    Returns:
      `{path: StoredTensor}` and `{path: (directory name, shape or None)}`.
    """
    inline: dict[str, StoredTensor] = {}
    stored: dict[str, tuple[str, tuple[int, ...] | None]] = {}

    def visit(node: Any, path: str) -> None:
        if isinstance(node, StoredTensor):
            inline[path] = node
        elif isinstance(node, dict) and "driver" in node and "kvstore" in node:
            stored[path] = _array_reference(node, where=f"{where}: '{path}'")
        elif isinstance(node, dict):
            for key, value in node.items():
                if not isinstance(key, str) or not key or "/" in key:
                    raise CheckpointError(f"{where}: name {str(key)[:80]!r} under '{path}'")
                visit(value, f"{path}/{key}" if path else key)
        elif node is not None:
            raise CheckpointError(f"{where}: '{path}' is {str(node)[:80]!r}, expected an array")

    visit(tree, "")
    return inline, stored


def _array_reference(spec: Mapping, *, where: str) -> tuple[str, tuple[int, ...] | None]:
    """Returns the directory of a TensorStore spec, whatever driver and bucket it was written for.

    Only the directory's name is used: it stands beside the checkpoint file.
    """
    kvstore = spec["kvstore"]
    path = kvstore.get("path", spec.get("path")) if isinstance(kvstore, dict) else None
    if spec["driver"] not in ("zarr", "zarr3") or not isinstance(path, str):
        raise CheckpointError(f"{where}: not a Zarr array: {str(spec)[:200]}")
    name = checked_file_name(path.rstrip("/").removeprefix("./"), where=where)
    metadata = spec.get("metadata")
    shape = metadata.get("shape") if isinstance(metadata, dict) else None
    return name, tuple(shape) if isinstance(shape, list) else None


def legacy_file(path: epath.Path) -> epath.Path | None:
    """Returns the MessagePack file of a legacy checkpoint, or None if `path` is none.

    Args:
      path: `checkpoint_<step>` (a directory, or a single file holding all arrays), or the file.
    """
    file = path / CHECKPOINT_FILE if path.is_dir() else path
    if not file.exists() or file.is_dir():
        return None
    with file.open("rb") as stream:
        head = stream.read(32)
    is_map = bool(head) and (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF))
    return file if is_map and not head.startswith(b"model_checkpoint") else None


def is_orbax_state(path: epath.Path) -> bool:
    """Tells whether a directory holds Orbax arrays."""
    return any((path / name).exists() for name in ("_METADATA", OCDBT_MANIFEST))


def open_legacy(path: os.PathLike | str) -> OpenedCheckpoint:
    """Opens a legacy T5X checkpoint.

    Args:
      path: `checkpoint_<step>` or its `checkpoint` file.

    Raises:
      CheckpointError: damaged, incomplete, or no T5-family model.
    """
    file = legacy_file(epath.Path(path))
    if file is None:
        raise CheckpointError(f"{path}: no T5X checkpoint file")
    reader = LegacyReader(file)
    return _open(reader, format=LEGACY, stated=StatedConfig(), path=path)


def open_orbax(path: os.PathLike | str) -> OpenedCheckpoint:
    """Opens an Orbax checkpoint of T5X or of nmt5.

    Args:
      path: `checkpoint_<step>`, with the arrays in it or in its `state`, or that `state`.

    Raises:
      CheckpointError: damaged, incomplete, or no T5-family model.
    """
    path = epath.Path(path)
    checkpoint = path.parent if path.name == STATE_ITEM else path
    state = next((p for p in (path / STATE_ITEM, path) if is_orbax_state(p)), None)
    if state is None:
        raise CheckpointError(f"{path}: no Orbax checkpoint (_METADATA or {OCDBT_MANIFEST})")
    description = checkpoint / DESCRIPTION_ITEM / "metadata"
    native = description.exists()
    stated = _described(description) if native else StatedConfig()
    reader = ArrayStoreReader(state)
    reader.source = str(checkpoint)
    return _open(reader, format=NATIVE if native else ORBAX, stated=stated, path=checkpoint)


def _described(description: epath.Path) -> StatedConfig:
    """Returns the model config in a native checkpoint's description."""
    try:
        content = description.read_bytes()
        if len(content) > _MAX_JSON_BYTES:
            raise ValueError("too long")
        value = json.loads(content)
        config = ModelConfig.from_dict(value["model"])
    except (ValueError, KeyError, TypeError, ConfigError, RecursionError) as error:
        raise CheckpointError(f"{description}: damaged description ({error})") from error
    run = value.get("run")
    family = run.get("family") if isinstance(run, dict) else None
    return StatedConfig(
        fields={name: getattr(config, name) for name in config.to_dict()},
        where=str(description),
        family=family if isinstance(family, str) else None,
        extra=value,
    )


def _table(specs: Mapping[str, TensorSpec]) -> NameTable:
    if any(name.startswith("target/encoder/encoder/") for name in specs):
        return t5x_scanned_table()
    query = specs.get("target/encoder/layers_0/attention/query/kernel")
    return t5x_unscanned_table(unjoined=query is not None and len(query.shape) == 3)


def _open(reader, *, format: str, stated: StatedConfig, path) -> OpenedCheckpoint:
    parameters = {n: s for n, s in reader.specs.items() if n.startswith("target/")}
    if not parameters:
        shown = ", ".join(list(reader.specs)[:10])
        raise CheckpointError(f"{reader.source}: no parameters under 'target'; found {shown}")
    absent = {n: c for n, c in reader.absent_chunks.items() if n in parameters}
    if absent:
        lines = [f"  {name}: {count} chunks" for name, count in list(absent.items())[:20]]
        raise CheckpointError(
            f"{reader.source}: chunks of {len(absent)} arrays are missing, the copy is "
            "incomplete:\n" + "\n".join(lines)
        )
    opened = open_tensors(
        reader, format=format, table=_table(parameters), stated=stated, specs=parameters
    )
    if format == NATIVE:
        kept = epath.Path(path) / COMPANIONS_DIRECTORY
        names = sorted(p.name for p in kept.iterdir()) if kept.is_dir() else []
        opened.companions = {name: str(kept / name) for name in names}
    opened.step = _read_step(reader, path)
    opened.slots, opened.notes = _slots(opened)
    return opened


def _read_step(reader: TensorReader, path: os.PathLike | str) -> int | None:
    spec = reader.specs.get("state/step")
    if spec is not None:
        number = None
        if spec.shape in ((), (1,)) and spec.dtype.kind in "iuf":
            number = float(np.asarray(reader.read("state/step")).reshape(()))
        # T5X casts the step too where it saves parameters in one dtype, float32 by its default.
        if number is None or number < 0 or not number.is_integer():
            found = spec if number is None else number
            raise CheckpointError(f"{reader.source}: state/step is {found}, expected an integer")
        return int(number)
    match = CHECKPOINT_NAME.fullmatch(os.path.basename(os.fspath(path).rstrip("/")))
    return int(match[1]) if match else None


def _slots(opened: OpenedCheckpoint):
    """Returns the optimizer slots by parameter path, and notes on state that has no use here.

    T5X keeps `state/param_states/<parameter>/<slot>`, nmt5 `state/optimizer/<slot>/<parameter>`.
    """
    paths: dict[str, list[str]] = {}
    for binding in opened.bindings.parameters:
        paths.setdefault(binding.foreign.removeprefix("target/"), []).append(binding.path)
    slots: dict[str, dict[str, str]] = {}
    unused = []
    for name in opened.reader.specs:
        if name.startswith("target/") or name in ("state/step", "state/skipped_steps"):
            continue
        match = re.fullmatch(r"state/param_states/(.+)/(m|v|v_row|v_col)", name)
        parameter, slot = (match[1], match[2]) if match else (None, None)
        if match := re.fullmatch(r"state/optimizer/(m|v|v_row|v_col)/(.+)", name):
            slot, parameter = match[1], match[2]
        if parameter in paths and slot in SLOT_NAMES:
            for path in paths[parameter]:
                slots.setdefault(path, {})[slot] = name
        elif name != "state/optimizer/count":
            unused.append(name)
    notes = ()
    if unused:
        notes = (
            f"{len(unused)} arrays not used (state without a parameter), for example {unused[0]}",
        )
    return slots, notes
