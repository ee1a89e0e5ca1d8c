"""`nmt5 convert`: turns a checkpoint of one published format into another."""

import argparse

from nmt5.cli import settings
from nmt5.core.errors import CheckpointError

DESCRIPTION = """\
Convert a T5-family checkpoint. The source's format is found from its files: T5X (legacy or
Orbax, scanned or not), Hugging Face (safetensors, pytorch_model.bin, flax_model.msgpack), Mesh
TensorFlow, nmt5. Every tensor is matched exactly once, or the conversion fails and lists the
rest. Memory holds about one tensor; an interrupted conversion leaves nothing behind.
--verify then compares all parameters of both sides, and the logits where one side is a Hugging
Face directory and transformers and torch are installed (this loads the whole model twice).

settings:
  ConvertConfig.source    directory, gs:// path, or Hub name such as google/mt5-small (or --from)
  ConvertConfig.target    a directory that does not exist yet (or --to)
  ConvertConfig.format    format to write, `nmt5` by default (or --format)
  ConvertConfig.dtype, .slots, .layers, .family, .vocabulary, .step, .shard_bytes

example:
  nmt5 convert --from=google/mt5-small --to=checkpoints/mt5_small --verify
  nmt5 convert --from=runs/mine --to=exported --format=huggingface --gin.ConvertConfig.vocabulary=V
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument("--from", dest="source", help="checkpoint to read")
    parser.add_argument("--to", dest="target", help="directory to write")
    parser.add_argument("--format", help="format to write")
    parser.add_argument(
        "--verify", action="store_true", help="compare what was written with the source"
    )


def run(args: argparse.Namespace) -> None:
    """Converts and prints what came of it.

    Raises:
      UserError: the conversion is impossible, or `--verify` found another model.
    """
    settings.parse(args, "ConvertConfig")
    given = {
        name: getattr(args, name) for name in ("source", "target", "format") if getattr(args, name)
    }
    with settings.scope(args):
        config = settings.build("ConvertConfig", **given)
    from nmt5.checkpoints.conversion import convert

    made = convert(config)
    rate = made.num_bytes / 1e6 / max(made.seconds, 1e-9)
    print(
        f"{made.path}: {made.num_parameters:,} parameters, {made.num_bytes / 1e9:.2f} GB in "
        f"{made.seconds:.1f} s ({rate:.0f} MB/s)"
    )
    if args.verify:
        _verify(config, made.path)


def _verify(config, path: str) -> None:
    from nmt5.checkpoints import hub
    from nmt5.checkpoints.verification import verify

    found = verify(hub.resolve(config.source), path, step=config.step)
    if found.largest_parameter_difference and config.dtype == "float32":
        raise CheckpointError(
            f"verify: {path}: parameters differ from {config.source} by up to "
            f"{found.largest_parameter_difference:.3g}; do not use it"
        )
