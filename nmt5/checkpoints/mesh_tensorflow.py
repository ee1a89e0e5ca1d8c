"""Legacy Mesh TensorFlow checkpoints, `model.ckpt-<step>.{index,data-*}`.

TensorFlow is imported when one is opened, not before.
"""

from collections.abc import Mapping
import os
import re

from etils import epath
import numpy as np

from nmt5.checkpoints.names import mesh_tensorflow_table
from nmt5.checkpoints.opened import OpenedCheckpoint, has_per_layer_bias, open_tensors
from nmt5.checkpoints.param_paths import StatedConfig
from nmt5.checkpoints.tensors import DTYPES, TensorReader, TensorSpec, checked_shape
from nmt5.core.errors import CheckpointError

FORMAT = "mesh_tensorflow"
_SLOTS = {"_slot_v": "v", "_slot_vr": "v_row", "_slot_vc": "v_col", "_slot_m": "m"}


class _TensorFlowReader(TensorReader):
    """Variables of a TensorFlow checkpoint."""

    def __init__(self, prefix: str):
        try:
            import tensorflow as tf
        except ImportError as error:
            raise CheckpointError(
                f"{prefix}: reading Mesh TensorFlow checkpoints needs TensorFlow; install "
                "tensorflow-cpu, or convert where it is installed"
            ) from error
        self.source = prefix
        self._faults = (tf.errors.OpError, ValueError, RuntimeError)
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        except self._faults as error:
            raise CheckpointError(f"{prefix}: {str(error)[:300]}") from error
        self.specs = {}
        for name in sorted(shapes):
            kind = dtypes[name].name
            if kind not in DTYPES:
                raise CheckpointError(f"{prefix}: '{name}' has element type {kind}")
            shape = checked_shape(list(shapes[name]), where=f"{prefix}: '{name}'")
            self.specs[name] = TensorSpec(shape, DTYPES[kind])

    def read(self, name: str) -> np.ndarray:
        """See `TensorReader.read`."""
        try:
            return np.asarray(self._reader.get_tensor(name))
        except self._faults as error:
            raise CheckpointError(f"{self.source}: '{name}': {str(error)[:300]}") from error


def checkpoint_prefixes(path: os.PathLike | str) -> dict[int, str]:
    """Returns `{step: prefix}` of the complete TensorFlow checkpoints in a directory."""
    path = epath.Path(path)
    found = {}
    for file in path.glob("*.index"):
        if match := re.fullmatch(r"(.+-(\d+))\.index", file.name):
            found[int(match[2])] = str(path / match[1])
    return dict(sorted(found.items()))


def open_mesh_tensorflow(path: os.PathLike | str, *, step: int | None = None) -> OpenedCheckpoint:
    """Opens a Mesh TensorFlow checkpoint.

    Args:
      path: the prefix `.../model.ckpt-1000000`, one of its files, or their directory.
      step: which one of a directory; the last if None.

    Returns:
      The checkpoint, with Adafactor slots where it has them.

    Raises:
      CheckpointError: no such checkpoint, damaged, or no T5-family model.
    """
    text = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", os.fspath(path))
    if epath.Path(text).is_dir():
        prefixes = checkpoint_prefixes(text)
        if not prefixes or (step is not None and step not in prefixes):
            raise CheckpointError(
                f"{text}: no model.ckpt-{'<step>' if step is None else step}.index; "
                f"steps found: {list(prefixes) or 'none'}"
            )
        text = prefixes[max(prefixes) if step is None else step]
    reader = _TensorFlowReader(text)
    variables = {n: s for n, s in reader.specs.items() if not n.endswith(tuple(_SLOTS))}
    pattern = r"encoder/block_(\d+)/layer_000/SelfAttention/relative_attention_bias"
    table = mesh_tensorflow_table(per_layer_bias=has_per_layer_bias(variables, pattern))
    opened = open_tensors(
        reader, format=FORMAT, table=table, stated=StatedConfig(where=text), specs=variables
    )
    if "global_step" in reader.specs:
        opened.step = int(reader.read("global_step"))
    else:
        opened.step = int(match[1]) if (match := re.search(r"-(\d+)$", text)) else None
    opened.slots = _slots(opened, variables)
    return opened


def _slots(opened: OpenedCheckpoint, variables: Mapping[str, TensorSpec]):
    """Returns the slot variables by parameter path; a slot of no parameter is an error."""
    paths = {binding.foreign: binding.path for binding in opened.bindings.parameters}
    slots: dict[str, dict[str, str]] = {}
    strangers = []
    for name in opened.reader.specs:
        if name in variables:
            continue
        suffix = next(s for s in sorted(_SLOTS, key=len, reverse=True) if name.endswith(s))
        variable = name.removesuffix(suffix)
        if variable in paths:
            slots.setdefault(paths[variable], {})[_SLOTS[suffix]] = name
        elif variable not in variables:
            strangers.append(name)
    if strangers:
        raise CheckpointError(
            f"{opened.reader.source}: optimizer slots of no variable: {', '.join(strangers[:20])}"
        )
    return slots


def is_exchanged(shape: tuple[int, ...]) -> bool:
    """Tells whether Mesh's `vr` is T5X's `v_col`: for square kernels only.

    Of two equal axes Mesh drops the first for `vr` (stable descending sort), T5X the last for
    `v_row` (ascending argsort). The slots' shapes are equal, so nothing else would show it.
    """
    return len(shape) == 2 and shape[0] == shape[1]
