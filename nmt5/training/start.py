"""Where a run begins: the one list of possibilities, in order, and the checks that go with it."""

from collections.abc import Callable, Mapping
import dataclasses
import os
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp

from nmt5.checkpoints.manager import (
    SUBDIRECTORY,
    CheckpointConfig,
    Description,
    SavedRun,
    find_checkpoint,
    find_resumable,
    is_converted,
    is_native,
    read_description,
    read_params,
    read_saved,
    restore_state,
)
from nmt5.checkpoints.native_reader import stored_shapes
from nmt5.core.errors import CheckpointError, VocabularyError
from nmt5.core.pytrees import unflatten_paths
from nmt5.data.mixture import Mixture
from nmt5.model.config import ModelConfig
from nmt5.model.parameters import init_params, param_shapes
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What a run begins from.

    Attributes:
      kind: "resume", "restart", "restart from converted", "restart from public",
        "initial checkpoint", "public checkpoint" or "scratch".
      step: steps that are done already.
      source: the checkpoint, verified if it is a native one; empty for scratch.
      description: what the checkpoint says of itself; None for scratch.
      saved: the checkpoint whose position in the data is taken too; only for the first two kinds.
    """

    kind: str
    step: int = 0
    source: str = ""
    description: Description | None = None
    saved: SavedRun | None = None


def choose_start(
    run_dir: os.PathLike | str,
    checkpoint: CheckpointConfig,
    *,
    report: Callable[[str], None],
) -> Start:
    """Decides what a run begins from; the first that applies is taken:

    1. the newest undamaged checkpoint in the run directory: the run goes on;
    2. `restart_from`: another run's checkpoint with step, optimizer and position in the data; of
       one that was converted, or is of another format, step and optimizer, and the text from its
       beginning;
    3. `initial_checkpoint`, native: its parameters only, everything else anew;
    4. `initial_checkpoint` in another format (T5X, Hugging Face, Mesh TensorFlow): the same;
    5. random parameters.

    Args:
      run_dir: the run directory, locked by this process.
      checkpoint: what was asked for.
      report: gets a line about each damaged or unfinished checkpoint that is passed over.

    Raises:
      CheckpointError: a checkpoint that was asked for is missing or damaged.
    """
    saved = find_resumable(epath.Path(run_dir) / SUBDIRECTORY, report=report)
    if saved is not None:
        return _whole("resume", saved)
    if checkpoint.restart_from:
        return _restart(checkpoint.restart_from, report)
    initial = checkpoint.initial_checkpoint
    if not initial:
        return Start(kind="scratch")
    if not is_native(initial):
        return _public("public checkpoint", initial, report)
    found = find_checkpoint(initial)
    return Start(
        kind="initial checkpoint", source=os.fspath(found), description=read_description(found)
    )


def _whole(kind: str, saved: SavedRun) -> Start:
    return Start(
        kind=kind,
        step=saved.description.step,
        source=os.fspath(saved.directory),
        description=saved.description,
        saved=saved,
    )


def _restart(path: str, report: Callable[[str], None]) -> Start:
    if is_native(path):
        found = find_checkpoint(path)
        if not is_converted(found):
            return _whole("restart", read_saved(found))
        if "optimizer" not in stored_shapes(found)["state"]:
            raise CheckpointError(
                f"checkpoint {found} was converted without optimizer state; convert it with "
                "--gin.ConvertConfig.slots=keep, or use CheckpointConfig.initial_checkpoint, which "
                "takes its parameters only"
            )
        description = read_description(found)
        start = Start(
            kind="restart from converted",
            step=description.step,
            source=os.fspath(found),
            description=description,
        )
    else:
        start = _public("restart from public", path, report)
    report(
        f"checkpoint {start.source} does not say where its text was: step {start.step} (which "
        "train_steps counts) and optimizer go on, the text starts at its beginning"
    )
    return start


def _public(kind: str, path: str, report: Callable[[str], None]) -> Start:
    """Opens a checkpoint of another format; reads no array yet."""
    from nmt5.checkpoints import hub
    from nmt5.checkpoints.detect import open_checkpoint

    source = hub.resolve(path, report=report)
    opened = open_checkpoint(source)
    if kind == "restart from public" and not opened.slots:
        raise CheckpointError(
            f"checkpoint {source} has no optimizer state to go on with; use "
            "CheckpointConfig.initial_checkpoint, which takes its parameters only"
        )
    step = opened.step or 0
    description = Description(
        step=step,
        model=opened.config.to_dict(),
        vocabulary_fingerprint="",
        vocabulary_size=0,
        mixture="",
    )
    done = step if kind == "restart from public" else 0
    return Start(kind=kind, step=done, source=source, description=description)


def check_fits(
    start: Start, *, mixture: Mixture, model: ModelConfig, report: Callable[[str], None]
) -> None:
    """Refuses to continue a checkpoint of another vocabulary or another model.

    A public checkpoint, or one converted without its vocabulary, does not say which vocabulary it
    was trained with: only the number of rows can be checked, and this is reported.

    Raises:
      VocabularyError: the checkpoint's vocabulary is not, or cannot be, the mixture's.
      CheckpointError: a shape or another property of the model differs; all are listed.
    """
    description, source = start.description, start.source
    if description is None:
        return
    if not description.vocabulary_fingerprint:
        from nmt5.checkpoints.vocabulary_bridge import check_rows

        sizes = check_rows(
            ModelConfig.from_dict(description.model).vocab_size,
            mixture.vocabulary,
            where=f"checkpoint {source}",
            vocabulary=f"the vocabulary of mixture '{mixture.name}'",
        )
        report(
            f"checkpoint {source} does not name its vocabulary; that it is the one of mixture "
            f"'{mixture.name}' is taken on trust, as the sizes agree: {sizes}"
        )
    elif description.vocabulary_fingerprint != mixture.vocabulary.fingerprint:
        raise VocabularyError(
            f"checkpoint {source} was trained with vocabulary "
            f"{description.vocabulary_fingerprint[:12]} ({description.vocabulary_size} ids), "
            f"mixture '{mixture.name}' has {mixture.vocabulary.fingerprint[:12]} "
            f"({mixture.vocabulary.size} ids); prepare the text with the checkpoint's vocabulary"
        )
    found, wanted = ModelConfig.from_dict(description.model).to_dict(), model.to_dict()
    # How it is computed may change between runs; what it is may not.
    free = {"dropout_rate", "dtype", "attention_backend", "scan_layers", "remat"}
    differing = [
        f"{name} {found[name]} (run: {wanted[name]})"
        for name in sorted(wanted)
        if name not in free and found.get(name) != wanted[name]
    ]
    if differing:
        raise CheckpointError(
            f"checkpoint {source} is of another model: {', '.join(differing)}; set model_config "
            "to the checkpoint's"
        )


def make_state(
    start: Start,
    *,
    model: ModelConfig,
    abstract: TrainState,
    seed: int,
) -> TrainState:
    """Returns the state to train from, on its devices.

    Args:
      start: from `choose_start`, accepted by `check_fits`.
      model: the model.
      abstract: a `TrainState` of `jax.ShapeDtypeStruct`, each with its sharding.
      seed: of random parameters.

    Raises:
      CheckpointError: the checkpoint is of another model or optimizer.
    """
    if start.saved is not None or start.kind.startswith("restart"):
        if start.kind == "restart from public":
            return TrainState.from_tree(_public_state(start.source, abstract.to_tree()))
        return TrainState.from_tree(restore_state(start.source, abstract.to_tree()))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract.params)
    if start.source:
        params = _initial_params(start, shardings)
    else:
        params = init_params(model, seed=seed, shardings=shardings)
    # All else begins with zeros, as in `init_state`; here no program is compiled for them.
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding),
        dataclasses.replace(abstract, params={}),
    )
    return dataclasses.replace(zeros, params=params)


def abstract_state(model: ModelConfig, *, optimizer: OptimizerConfig) -> TrainState:
    """Returns the state's shapes and dtypes, without allocating anything."""
    return jax.eval_shape(
        lambda params: init_state(params, optimizer=optimizer),
        unflatten_paths(param_shapes(model)),
    )


def _initial_params(start: Start, shardings: Mapping[str, Any]) -> Mapping[str, Any]:
    if start.kind != "public checkpoint":
        return read_params(start.source, shardings=shardings)
    from nmt5.checkpoints.detect import open_checkpoint
    from nmt5.checkpoints.public_import import place_parameters

    return place_parameters(open_checkpoint(start.source), shardings)


def _public_state(source: str, placed: Mapping[str, Any]) -> Mapping[str, Any]:
    from nmt5.checkpoints.detect import open_checkpoint
    from nmt5.checkpoints.public_import import place_state

    return place_state(open_checkpoint(source), placed)
