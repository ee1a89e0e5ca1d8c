"""`nmt5 train`: pre-trains a model, or continues from a checkpoint."""

import argparse
import sys

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
  ProcessConfig.start_seconds, .lost_seconds, .barrier_seconds     patience of several processes

Several processes, one for each machine or device, share one run. On TPU pods and under SLURM or
Open MPI they find each other; elsewhere each is told its number and the address of process 0:
  nmt5 train ... --coordinator_address=10.0.0.1:1234 --process_count=4 --process_index=0

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
    "ProcessConfig",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--coordinator_address", metavar="HOST:PORT", help="where process 0 listens"
    )
    parser.add_argument("--process_count", type=int, metavar="N", help="how many share the run")
    parser.add_argument("--process_index", type=int, metavar="I", help="number of this one, from 0")
    parser.add_argument(
        "--profile",
        type=int,
        nargs="?",
        const=3,
        default=0,
        metavar="STEPS",
        help="trace a few steps (3) and print where their time goes",
    )


def _say(line: str) -> None:
    print(f"nmt5 train: {line}", file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> None:
    """Trains, and says how it ended."""
    settings.parse(args, "Workspace", *_SETTINGS)
    with settings.scope(args):
        workspace = settings.build("Workspace")
        names = ("coordinator_address", "process_count", "process_index")
        given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        process_config = settings.build("ProcessConfig", **given)
        built = {name: settings.build(name) for name in _SETTINGS if name != "ProcessConfig"}
    from nmt5.core.allocator import compute_in_main_thread
    from nmt5.partitioning.processes import processes
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
    compute_in_main_thread()
    with processes(process_config, say=_say) as group:
        mixture = workspace.find_mixture(config.data.mixture)
        outcome = train(config, mixture=mixture, profile_steps=args.profile)
    if not group.is_first:
        return
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
