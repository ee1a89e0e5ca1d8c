"""Reading native checkpoints: finding a whole one, its parameters, or its complete state."""

import logging
import os
from typing import Any

from etils import epath
import jax
import numpy as np

from nmt5.checkpoints.checksums import find_damage
from nmt5.checkpoints.native_layout import (
    DESCRIPTION,
    FEED,
    NAME,
    PREFIX,
    STATE,
    SUBDIRECTORY,
    Description,
    checkpoint_at,
    checkpoint_steps,
    listed,
    read_description,
)
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths

_log = logging.getLogger(__name__)


def is_native(path: os.PathLike | str) -> bool:
    """Returns whether `find_checkpoint` would look at `path`, without reading anything in it."""
    path = epath.Path(path)
    if not path.is_dir():
        return False
    directory = path / SUBDIRECTORY if (path / SUBDIRECTORY).is_dir() else path
    candidates = [path] + [checkpoint_at(directory, step) for step in checkpoint_steps(directory)]
    return any((candidate / DESCRIPTION).is_dir() for candidate in candidates)


def is_converted(checkpoint: epath.PathLike) -> bool:
    """Tells whether a native checkpoint was converted, and so holds no position in any text."""
    return not (epath.Path(checkpoint) / FEED).exists()


def find_checkpoint(path: os.PathLike | str, *, step: int | None = None) -> epath.Path:
    """Finds one verified checkpoint; changes nothing on disk.

    Args:
      path: a run directory, its `checkpoints` directory, or one `checkpoint_<step>`.
      step: which one; None takes the newest that is complete and undamaged.

    Returns:
      The `checkpoint_<step>` directory.

    Raises:
      CheckpointError: nothing there, no such step, or damaged files; says what was found.
    """
    path = epath.Path(path).absolute()  # Orbax takes no relative one
    if not path.is_dir():
        raise CheckpointError(f"checkpoint: {path} does not exist or is not a directory")
    if match := NAME.fullmatch(path.name):
        if step is not None and step != int(match.group(1)):
            raise CheckpointError(f"checkpoint: step {step} asked, but the path is {path}")
        return _verified(path)
    directory = path / SUBDIRECTORY if (path / SUBDIRECTORY).is_dir() else path
    steps = checkpoint_steps(directory)
    if not steps:
        names = sorted(child.name for child in directory.iterdir())
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
        raise CheckpointError(
            f"checkpoint: {directory}: expected directories named {PREFIX}_<step>, found {shown}"
        )
    if step is not None:
        if step not in steps:
            known = ", ".join(map(str, steps))
            raise CheckpointError(f"checkpoint: {directory}: no step {step}; it has {known}")
        return _verified(checkpoint_at(directory, step))
    problems = []
    for candidate in reversed(steps):
        try:
            return _verified(checkpoint_at(directory, candidate))
        except CheckpointError as error:
            problems.append(str(error))
            _log.warning("%s; trying the one before", error)
    raise CheckpointError(f"checkpoint: {directory}: no undamaged one: {listed(problems)}")


def _verified(checkpoint: epath.Path) -> epath.Path:
    if not (checkpoint / DESCRIPTION).is_dir():
        names = ", ".join(sorted(child.name for child in checkpoint.iterdir())) or "nothing"
        raise CheckpointError(
            f"checkpoint: {checkpoint}: not written by nmt5 (no '{DESCRIPTION}'; found {names}); "
            "import it with `nmt5 convert`"
        )
    if damage := find_damage(checkpoint):
        raise CheckpointError(f"damaged checkpoint {checkpoint}: {listed(damage)}")
    return checkpoint


def load_params(
    path: os.PathLike | str, *, step: int | None = None, shardings: Any = None
) -> tuple[dict[str, Any], Description]:
    """Loads the parameters of a native checkpoint, without its optimizer state.

    Args:
      path: a run directory, its `checkpoints` directory, or one `checkpoint_<step>`.
      step: which one; None takes the newest that is complete and undamaged.
      shardings: tree of shardings, one per parameter; None gives NumPy arrays.

    Returns:
      The nested dictionary of parameters, and the checkpoint's description.

    Raises:
      CheckpointError: missing or damaged, or `shardings` is for other parameters.
    """
    checkpoint = find_checkpoint(path, step=step)
    return read_params(checkpoint, shardings=shardings), read_description(checkpoint)


def read_params(checkpoint: epath.PathLike, *, shardings: Any = None) -> dict[str, Any]:
    """Reads the parameters of a verified `checkpoint_<step>`; see `load_params`."""
    import orbax.checkpoint as ocp

    checkpoint = epath.Path(checkpoint)
    stored = stored_shapes(checkpoint)["target"]
    if shardings is None:
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
    else:
        if flatten_paths(stored).keys() != flatten_paths(shardings).keys():
            raise CheckpointError(f"checkpoint: {checkpoint}: has the parameters of another model")
        arguments = jax.tree.map(lambda s: ocp.ArrayRestoreArgs(sharding=s), shardings)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(
            checkpoint / STATE,
            args=ocp.args.PyTreeRestore(
                item={"target": jax.tree.map(lambda _: 0, stored)},
                restore_args={"target": arguments},
                partial_restore=True,
            ),
        )
    return restored["target"]


def restore_state(checkpoint: epath.PathLike, abstract: Any) -> Any:
    """Restores the `state` item onto the devices that `abstract` names.

    Args:
      checkpoint: a verified `checkpoint_<step>` directory.
      abstract: tree of `jax.ShapeDtypeStruct` with shardings, the one that was saved.

    Returns:
      The tree of arrays.

    Raises:
      CheckpointError: a name or a shape differs.
    """
    import orbax.checkpoint as ocp

    checkpoint = epath.Path(checkpoint)
    _check_shapes(checkpoint, stored_shapes(checkpoint), abstract)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        return checkpointer.restore(
            checkpoint / STATE, args=ocp.args.StandardRestore(abstract, strict=True)
        )


def stored_shapes(checkpoint: epath.Path) -> dict[str, Any]:
    """Returns the saved tree with an `ArrayMetadata` (shape, dtype) for each leaf."""
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        metadata = checkpointer.metadata(checkpoint / STATE).item_metadata
    return metadata.tree


def _check_shapes(checkpoint: epath.Path, stored: Any, abstract: Any) -> None:
    """Raises one `CheckpointError` that lists every name and shape that differs."""
    found = {name: tuple(leaf.shape) for name, leaf in flatten_paths(stored).items()}
    wanted = {name: tuple(leaf.shape) for name, leaf in flatten_paths(abstract).items()}
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"{name} is unknown" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{name} has shape {found[name]}, expected {wanted[name]}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    if faults:
        raise CheckpointError(
            f"checkpoint: {checkpoint}: not of this model and optimizer: {listed(faults, limit=8)}"
        )
