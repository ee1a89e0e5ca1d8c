"""`nmt5 train`: pre-trains a model, or continues from a checkpoint."""

import argparse

from nmt5.cli import settings

DESCRIPTION = """\
Train on a resolved mixture until TrainConfig.train_steps. Typed again, the run goes on where it
was, or says that it is finished. Neither SeqIO nor TensorFlow is needed.

settings:
  TrainConfig.run_dir, TrainConfig.train_steps            and the rhythm of logs and evaluation
  model_config.size                    a published size or 'demo'; other fields override it
  DataConfig.mixture, DataConfig.store the mixture's name or file, and the prepared text
  DataConfig.encoder_tokens_per_batch, DataConfig.inputs_length, DataConfig.row_lengths
  OptimizerConfig.schedule, OptimizerConfig.learning_rate, OptimizerConfig.warmup_steps
  LossConfig.z_loss, LossConfig.normalizing_factor
  CheckpointConfig.period_steps, .keep, .initial_checkpoint, .restart_from
  MeshConfig.data, .fsdp, .tensor      how devices share the work

example:
  nmt5 train --gin_file=gin/demo.gin --gin_scope=base
"""
_SETTINGS = (
    "TrainConfig",
    "model_config",
    "DataConfig",
    "OptimizerConfig",
    "LossConfig",
    "MeshConfig",
    "CheckpointConfig",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""


def run(args: argparse.Namespace) -> None:
    """Trains, and says how it ended."""
    settings.parse(args, "Workspace", *_SETTINGS)
    with settings.scope(args):
        workspace = settings.build("Workspace")
        built = {name: settings.build(name) for name in _SETTINGS}
    from nmt5.training.loop import RunConfig, train
    from nmt5.training.progress import duration

    config = RunConfig(
        train=built["TrainConfig"],
        model=built["model_config"],
        data=built["DataConfig"],
        optimizer=built["OptimizerConfig"],
        loss=built["LossConfig"],
        mesh=built["MeshConfig"],
        checkpoint=built["CheckpointConfig"],
    )
    outcome = train(config, mixture=workspace.find_mixture(config.data.mixture))
    where = config.train.run_dir
    if outcome.how == "was finished":
        print(f"{where}: finished already, at step {outcome.step}")
    elif outcome.how == "finished":
        print(f"{where}: finished at step {outcome.step} after {duration(outcome.seconds)}")
    else:
        print(
            f"{where}: stopped at step {outcome.step} of {config.train.train_steps}; the same "
            "command goes on from here"
        )
