"""Where a run begins: the one list of possibilities, in order, and the checks that go with it."""

from collections.abc import Callable, Mapping
import dataclasses
import os
from typing import Any

from etils import epath
import jax

from nmt5.checkpoints.manager import (
    SUBDIRECTORY,
    CheckpointConfig,
    Description,
    SavedRun,
    find_checkpoint,
    find_resumable,
    load_params,
    read_saved,
    restore_state,
)
from nmt5.core.errors import CheckpointError, VocabularyError
from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.data.mixture import Mixture
from nmt5.model.config import ModelConfig
from nmt5.model.parameters import init_variables, param_shapes
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What a run begins from.

    Attributes:
      kind: "resume", "restart", "initial checkpoint" or "scratch".
      step: steps that are done already.
      saved: the checkpoint whose whole state is taken, None for the last two kinds.
      source: path of the checkpoint, empty for scratch.
    """

    kind: str
    step: int
    saved: SavedRun | None
    source: str


def choose_start(
    run_dir: os.PathLike | str,
    checkpoint: CheckpointConfig,
    *,
    report: Callable[[str], None],
) -> Start:
    """Decides what a run begins from; the first that applies is taken:

    1. the newest undamaged checkpoint in the run directory: the run goes on;
    2. `restart_from`: another run's checkpoint with step, optimizer and position in the data;
    3. `initial_checkpoint`: its parameters only, everything else anew;
    4. random parameters.

    Args:
      run_dir: the run directory, locked by this process.
      checkpoint: what was asked for.
      report: gets a line about each damaged or unfinished checkpoint that is passed over.

    Raises:
      CheckpointError: a checkpoint that was asked for is missing or damaged.
    """
    saved = find_resumable(epath.Path(run_dir) / SUBDIRECTORY, report=report)
    if saved is not None:
        return Start(
            kind="resume",
            step=saved.description.step,
            saved=saved,
            source=os.fspath(saved.directory),
        )
    if checkpoint.restart_from:
        saved = read_saved(find_checkpoint(checkpoint.restart_from))
        return Start(
            kind="restart",
            step=saved.description.step,
            saved=saved,
            source=os.fspath(saved.directory),
        )
    if checkpoint.initial_checkpoint:
        found = find_checkpoint(checkpoint.initial_checkpoint)
        return Start(kind="initial checkpoint", step=0, saved=None, source=os.fspath(found))
    return Start(kind="scratch", step=0, saved=None, source="")


def check_fits(
    description: Description, *, mixture: Mixture, model: ModelConfig, source: str
) -> None:
    """Refuses to continue a checkpoint of another vocabulary or another model.

    Raises:
      VocabularyError: the checkpoint's vocabulary is not the mixture's.
      CheckpointError: a shape or another property of the model differs; all are listed.
    """
    if description.vocabulary_fingerprint != mixture.vocabulary.fingerprint:
        raise VocabularyError(
            f"checkpoint {source} was trained with vocabulary "
            f"{description.vocabulary_fingerprint[:12]} ({description.vocabulary_size} ids), "
            f"mixture '{mixture.name}' has {mixture.vocabulary.fingerprint[:12]} "
            f"({mixture.vocabulary.size} ids); prepare the text with the checkpoint's vocabulary"
        )
    found, wanted = ModelConfig.from_dict(description.model).to_dict(), model.to_dict()
    # How it is computed may change between runs; what it is may not.
    free = {"dropout_rate", "dtype", "attention_backend"}
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
    optimizer: OptimizerConfig,
    mixture: Mixture,
    shardings: TrainState,
    seed: int,
) -> TrainState:
    """Returns the state to train from, on its devices.

    Args:
      start: from `choose_start`.
      model: the model.
      optimizer: the optimizer.
      mixture: for its vocabulary.
      shardings: a `TrainState` with a sharding at each leaf.
      seed: of random parameters.

    Raises:
      CheckpointError: the checkpoint is of another model or optimizer.
      VocabularyError: the checkpoint was trained with another vocabulary.
    """
    if start.saved is not None:
        check_fits(start.saved.description, mixture=mixture, model=model, source=start.source)
        abstract = abstract_state(model, optimizer=optimizer)
        placed = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract.to_tree(),
            shardings.to_tree(),
        )
        return TrainState.from_tree(restore_state(start.saved.directory, placed))
    initialise = jax.jit(
        lambda params: init_state(params, optimizer=optimizer), out_shardings=shardings
    )
    if start.source:
        return initialise(_initial_params(start.source, mixture, model, shardings.params))
    return jax.jit(
        lambda key: init_state(init_variables(model, key)["params"], optimizer=optimizer),
        out_shardings=shardings,
    )(jax.random.key(seed))


def abstract_state(model: ModelConfig, *, optimizer: OptimizerConfig) -> TrainState:
    """Returns the state's shapes and dtypes, without allocating anything."""
    return jax.eval_shape(
        lambda params: init_state(params, optimizer=optimizer),
        unflatten_paths(param_shapes(model)),
    )


def _initial_params(
    source: str, mixture: Mixture, model: ModelConfig, shardings: Mapping[str, Any]
) -> Mapping[str, Any]:
    params, description = load_params(source)
    check_fits(description, mixture=mixture, model=model, source=source)
    if flatten_paths(params).keys() != flatten_paths(shardings).keys():
        raise CheckpointError(f"checkpoint {source} has the parameters of another model")
    return jax.tree.map(jax.device_put, params, shardings)
