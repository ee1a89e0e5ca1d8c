"""Which format a checkpoint has, told from its files."""

import os
import re

from etils import epath

from nmt5.checkpoints import huggingface, mesh_tensorflow, t5x
from nmt5.checkpoints.opened import OpenedCheckpoint
from nmt5.core.errors import CheckpointError, UserError

FORMATS = (
    huggingface.FORMAT, t5x.LEGACY, t5x.ORBAX, t5x.NATIVE, mesh_tensorflow.FORMAT,
)  # fmt: skip
_SUBDIRECTORY = "checkpoints"


def open_checkpoint(path: os.PathLike | str, *, step: int | None = None) -> OpenedCheckpoint:
    """Opens a checkpoint of any known format; loads no tensor.

    Args:
      path: a Hugging Face directory, a T5X, Orbax or nmt5 `checkpoint_<step>` or a directory of
        such, a run directory, or the prefix of a Mesh TensorFlow checkpoint.
      step: which one, where a directory has several; the last if None.

    Returns:
      The opened checkpoint.

    Raises:
      CheckpointError: no known format, damaged, incomplete, or no T5-family model.
    """
    try:
        return _open(epath.Path(path), step)
    except UserError:
        raise
    except Exception as error:
        # Remote file systems raise errors of their own libraries; a local one is a defect of ours.
        if "://" not in os.fspath(path):
            raise
        raise CheckpointError(
            f"{path}: cannot be read ({type(error).__name__}: {str(error)[:200]}); check the path, "
            "the network and your credentials, or copy it to a local directory"
        ) from error


def _open(path: epath.Path, step: int | None) -> OpenedCheckpoint:
    if not path.exists():
        if path.parent.exists() and list(path.parent.glob(path.name + ".index")):
            return mesh_tensorflow.open_mesh_tensorflow(path)
        raise CheckpointError(f"{path}: does not exist")
    if path.is_file():
        return _open_file(path)
    if huggingface.find_weights(path) is not None or (path / "config.json").exists():
        return huggingface.open_huggingface(path)
    if t5x.legacy_file(path) is not None:
        return t5x.open_legacy(path)
    if t5x.is_orbax_state(path) or t5x.is_orbax_state(path / t5x.STATE_ITEM):
        return t5x.open_orbax(path)
    if mesh_tensorflow.checkpoint_prefixes(path):
        return mesh_tensorflow.open_mesh_tensorflow(path, step=step)
    return _open(_inner(path, step), step)


def _open_file(path: epath.Path) -> OpenedCheckpoint:
    if re.search(r"\.(index|meta|data-\d+-of-\d+)$", path.name):
        return mesh_tensorflow.open_mesh_tensorflow(path)
    if any(path.name == name for w in huggingface.WEIGHTS for name in (w.single, w.index)):
        return huggingface.open_huggingface(path.parent)
    if t5x.legacy_file(path) is not None:
        return t5x.open_legacy(path)
    raise CheckpointError(f"{path}: a file of no known checkpoint format; " + _KNOWN)


def _inner(path: epath.Path, step: int | None) -> epath.Path:
    """Returns a `checkpoint_<step>` below a directory."""
    directory = path / _SUBDIRECTORY if (path / _SUBDIRECTORY).is_dir() else path
    steps = {
        int(match[1]): child
        for child in directory.iterdir()
        if (match := t5x.CHECKPOINT_NAME.fullmatch(child.name))
    }
    if step is not None and step not in steps:
        raise CheckpointError(f"{directory}: no step {step}; it has {sorted(steps) or 'none'}")
    if steps:
        return steps[max(steps) if step is None else step]
    names = sorted(child.name for child in directory.iterdir())
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "nothing"
    if t5x.CHECKPOINT_NAME.fullmatch(directory.name) or any(".tmp-" in n for n in names):
        shown += "; perhaps an interrupted save"
    raise CheckpointError(f"{directory}: no known checkpoint format; found {shown}. " + _KNOWN)


_KNOWN = (
    "Known are Hugging Face directories, T5X and Orbax checkpoint_<step> directories, and Mesh "
    "TensorFlow model.ckpt-<step> files"
)
