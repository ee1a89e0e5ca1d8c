"""The parameters of any public checkpoint, in memory."""

import os
from typing import Any

import numpy as np

from nmt5.checkpoints import hub
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.opened import require_finite
from nmt5.core.pytrees import unflatten_paths
from nmt5.model.config import ModelConfig


def import_public(
    path: os.PathLike | str, *, step: int | None = None
) -> tuple[dict[str, Any], ModelConfig, int | None]:
    """Loads the parameters of any public checkpoint, for a run to begin with.

    Args:
      path: as `ConvertConfig.source`.
      step: which checkpoint of a directory of several; the last if None.

    Returns:
      Nested dictionary of float32 NumPy arrays in T5X's tree, the model's configuration, and the
      training step if the format keeps one.

    Raises:
      CheckpointError: damaged, incomplete, holding NaN, or no T5-family model.
    """
    opened = open_checkpoint(hub.resolve(os.fspath(path)), step=step)
    opened.check_duplicates()
    flat = {}
    for binding in opened.bindings.parameters:
        values = require_finite(opened, binding.path, opened.read(binding))
        flat[binding.path] = np.array(values, dtype=np.float32, order="C")
    return unflatten_paths(flat), opened.config, opened.step
