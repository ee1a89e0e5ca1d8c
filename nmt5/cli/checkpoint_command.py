"""`nmt5 checkpoint`: says what a checkpoint is, or adds tokens to it and its vocabulary."""

import argparse

from nmt5.cli import settings
from nmt5.core.errors import ConfigError, unknown_name

DESCRIPTION = """\
show: print the format, model and step of a checkpoint of any known format; with --vocabulary,
also whether that vocabulary belongs to it.

add-tokens: write a new checkpoint and a new vocabulary (in <to>/vocabulary) with further tokens,
such as language codes, placed below the sentinels. Rows are the mean of the ordinary ones, drawn
like them ('normal'), or copied from a piece ('like:<piece>').

settings:
  AddTokensConfig.source          checkpoint: directory, gs:// path or Hub name (or --from)
  AddTokensConfig.vocabulary      its SentencePiece model, or a directory with one (or --vocabulary)
  AddTokensConfig.target          a new directory (or --to)
  AddTokensConfig.tokens          what to add (or --tokens)
  AddTokensConfig.format, .initialisation, .seed

example:
  nmt5 checkpoint show --from=google/mt5-small
  nmt5 checkpoint add-tokens --from=mt5_small --vocabulary=V --to=extended --tokens '<2fr>' '<2de>'
"""

_ACTIONS = ("show", "add-tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument("action", help="show or add-tokens")
    parser.add_argument("--from", dest="source", help="checkpoint to read")
    parser.add_argument("--vocabulary", help="the checkpoint's vocabulary")
    parser.add_argument("--to", dest="target", help="directory to write")
    parser.add_argument("--tokens", nargs="+", metavar="TOKEN", help="tokens to add")


def run(args: argparse.Namespace) -> None:
    """Does what the action says.

    Raises:
      UserError: an unknown action, missing values, or files that do not fit.
    """
    if args.action not in _ACTIONS:
        raise ConfigError(unknown_name("action", args.action, _ACTIONS))
    settings.parse(args, "AddTokensConfig")
    if args.action == "show":
        _show(args.source, args.vocabulary)
        return
    names = ("source", "vocabulary", "target", "tokens")
    given = {name: getattr(args, name) for name in names if getattr(args, name)}
    with settings.scope(args):
        config = settings.build("AddTokensConfig", **given)
    from nmt5.checkpoints.vocabulary_bridge import add_tokens

    made = add_tokens(config)
    print(f"{made.path}: {made.num_parameters:,} parameters")
    print(f"{config.target}/vocabulary: {len(config.tokens)} tokens added")


def _show(source: str | None, vocabulary: str | None) -> None:
    if not source:
        raise ConfigError("checkpoint show: give the checkpoint as --from=...")
    from nmt5.checkpoints import hub
    from nmt5.checkpoints.detect import open_checkpoint
    from nmt5.checkpoints.opened import summary
    from nmt5.checkpoints.vocabulary_bridge import check_vocabulary, load_vocabulary

    opened = open_checkpoint(hub.resolve(source, report=print))
    print(f"{source}: {opened.format}, {summary(opened)}")
    for name, value in opened.config.to_dict().items():
        print(f"  {name}: {value}")
    for note in opened.notes:
        print(f"note: {note}")
    if vocabulary:
        print(check_vocabulary(opened.config, load_vocabulary(vocabulary), where=source))
