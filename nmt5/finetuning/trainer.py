"""Fine-tuning one run: the task's examples through the ordinary feed and training loop."""

from collections.abc import Sequence
import dataclasses
import itertools
import os

from etils import epath

from nmt5.checkpoints.manager import (
    SUBDIRECTORY,
    CheckpointConfig,
    checkpoint_steps,
    find_checkpoint,
    is_native,
    read_description,
)
from nmt5.core.errors import ConfigError
from nmt5.data.layout import DataConfig
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.benchmarks.benchmark import Benchmark, Part
from nmt5.evaluation.benchmarks.regimes import Plan
from nmt5.evaluation.task_config import PartReader
from nmt5.finetuning.config import FinetuneConfig
from nmt5.finetuning.example_store import (
    MIXTURE,
    OBJECTIVE,
    fitting_rows,
    has_watched,
    taking_turns,
    write_examples,
)
from nmt5.model.config import ModelConfig
from nmt5.partitioning.mesh import MeshConfig
from nmt5.training.loop import RunConfig, TrainConfig, train
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.step import LossConfig

DATA, TRAINING = "data", "training"
CANDIDATE = "checkpoint_{}"
# nmT5's fine-tuning: constant 0.001. `schedule` and the rest are `OptimizerConfig`'s own.
NMT5_OPTIMIZER = OptimizerConfig(schedule="constant", learning_rate=0.001, warmup_steps=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of training that do not depend on the task.

    Attributes:
      finetune: lengths and rhythm.
      optimizer: nmT5's, unless set.
      loss: as in training.
      mesh: how devices share the work.
      model: of a run from random parameters; a checkpoint brings its own.
      compilation_cache: directory of compiled programs; runs of equal shapes share them.
    """

    finetune: FinetuneConfig
    optimizer: OptimizerConfig = NMT5_OPTIMIZER
    loss: LossConfig = LossConfig()
    mesh: MeshConfig = MeshConfig()
    model: ModelConfig | None = None
    compilation_cache: str | None = None


def model_of_checkpoint(checkpoint: os.PathLike | str) -> ModelConfig:
    """Returns the model of a checkpoint of any format, without reading its arrays.

    Its attention is "auto": what it was trained with may be for other devices than these.

    Raises:
      CheckpointError: missing, or of no T5-family model.
    """
    if is_native(checkpoint):
        description = read_description(find_checkpoint(checkpoint))
        model = ModelConfig.from_dict(description.model)
        return dataclasses.replace(model, attention_backend="auto")
    from nmt5.checkpoints import hub
    from nmt5.checkpoints.detect import open_checkpoint

    return open_checkpoint(hub.resolve(os.fspath(checkpoint))).config


def finetune(
    plan: Plan,
    *,
    benchmark: Benchmark,
    checkpoint: str,
    directory: os.PathLike | str,
    seed: int,
    recipe: Recipe,
    read: PartReader,
    vocabulary: Vocabulary,
) -> list[str]:
    """Trains on the parts of a plan; after a kill it goes on from its last checkpoint.

    Args:
      plan: what to train on, and what to watch the loss on.
      benchmark: the task, for its lengths.
      checkpoint: to begin from, of any format; "" begins with random parameters.
      directory: holds `data/` and `training/`.
      seed: of order and dropout.
      recipe: all other settings.
      read: gives the examples of a part.
      vocabulary: makes the ids.

    Returns:
      The names of the checkpoints to choose from, in order of training.

    Raises:
      ConfigError: neither checkpoint nor model.
      UserError: examples, vocabulary, checkpoint or settings are wrong or do not go together.
      KeyboardInterrupt: it was asked to stop, and has saved; called again, it goes on.
    """
    config = recipe.finetune
    model = model_of_checkpoint(checkpoint) if checkpoint else recipe.model
    if model is None:
        raise ConfigError(
            "fine-tuning: no checkpoint to begin from; set CheckpointConfig.initial_checkpoint, or "
            "model_config.size for random parameters"
        )
    data = epath.Path(directory) / DATA
    watched = taking_turns([read(part) for part in plan.selection], limit=config.watched_examples)
    mixture = write_examples(
        data,
        name=benchmark.name,
        train={
            part_name(part): itertools.islice(read(part), config.max_train_examples)
            for part in plan.train
        },
        watched=watched,
        vocabulary=vocabulary,
    )
    inputs_length = config.inputs_length or benchmark.inputs_tokens
    rows = fitting_rows(
        data, mixture, inputs_length=inputs_length, targets_limit=benchmark.targets_tokens
    )
    targets_length = config.targets_length or rows.targets
    run_dir = epath.Path(directory) / TRAINING
    outcome = train(
        RunConfig(
            train=TrainConfig(
                run_dir=os.fspath(run_dir),
                train_steps=config.train_steps,
                seed=seed,
                log_period_steps=max(config.eval_period_steps // 4, 1),
                eval_period_steps=config.eval_period_steps if has_watched(data, mixture) else None,
                eval_batches_per_task=None,
                eval_rows=16,
                compilation_cache=recipe.compilation_cache,
            ),
            model=dataclasses.replace(model, dropout_rate=config.dropout_rate),
            data=DataConfig(
                mixture=os.fspath(data / MIXTURE),
                store=os.fspath(data),
                inputs_length=inputs_length,
                row_lengths={OBJECTIVE: (inputs_length, targets_length)},
                encoder_tokens_per_batch=config.tokens_per_batch,
                seed=seed,
            ),
            optimizer=recipe.optimizer,
            loss=recipe.loss,
            mesh=recipe.mesh,
            checkpoint=CheckpointConfig(
                period_steps=config.eval_period_steps,
                keep=None,
                initial_checkpoint=checkpoint or None,
            ),
        ),
        mixture=mixture,
    )
    if outcome.how == "stopped":
        # The loop has saved and said so; the run is not finished, so nothing may be chosen.
        raise KeyboardInterrupt
    return candidates(directory, period=config.eval_period_steps, last=config.train_steps)


def candidates(directory: os.PathLike | str, *, period: int, last: int) -> list[str]:
    """Returns the checkpoints at multiples of the period and the last one, in order.

    A run that was stopped has saved others too; they must not count, or the choice would depend on
    when it was stopped.
    """
    steps = checkpoint_steps(epath.Path(directory) / TRAINING / SUBDIRECTORY)
    return [CANDIDATE.format(step) for step in steps if step % period == 0 or step == last]


def candidate_path(directory: os.PathLike | str, candidate: str) -> epath.Path:
    """Returns where a candidate is."""
    return epath.Path(directory) / TRAINING / SUBDIRECTORY / candidate


def forget_candidates(directory: os.PathLike | str, *, keep: Sequence[str]) -> None:
    """Removes the task's token ids and all checkpoints but those to keep."""
    checkpoints = epath.Path(directory) / TRAINING / SUBDIRECTORY
    for path in checkpoints.iterdir() if checkpoints.exists() else []:
        if path.name not in keep:
            path.rmtree()
    data = epath.Path(directory) / DATA
    if data.exists():
        data.rmtree()


def part_name(part: Part) -> str:
    """Returns the name of a part's corpus and of its training task."""
    words = [part.benchmark, part.split, part.language]
    if part.limit is not None:
        words.append(f"few{part.limit}_seed{part.seed}")
    if part.held_out:
        words.append(f"without{part.held_out}")
    return ".".join(words).replace("/", "_")
