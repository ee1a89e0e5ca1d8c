"""`nmt5 COMMAND ...`: finds the command, runs it, and turns a `UserError` into exit code 2.

Nothing heavy is imported until a command has been chosen and its arguments have been read, so
that `--help` answers at once.
"""

import argparse
from collections.abc import Sequence
import errno
import importlib
import logging
import os
import sys

from absl import logging as absl_logging

from nmt5 import __version__
from nmt5.core.allocator import restart_with_huge_pages
from nmt5.core.errors import UserError, unknown_name

# Each command is the module nmt5/cli/<name>_command.py with DESCRIPTION, add_arguments and run.
COMMANDS = {
    "vocabulary": "train a SentencePiece vocabulary from a mixture's corpora",
    "prepare": "tokenise the corpora of mixtures into a store and resolve the mixtures",
    "mixture": "resolve a registered mixture and write or print it",
    "show": "print examples of a mixture as the model will see them",
    "sampling": "print how often each language is sampled",
    "plan": "compile a run for a pod or this machine: memory, collectives, time; nothing is run",
    "train": "pre-train or continue from a checkpoint",
    "finetune": "train on a task, choose the checkpoint on validation, test it once",
    "protocol": "compare checkpoints over tasks, languages and seeds as the papers do",
    "evaluate": "score checkpoints: retrieval across languages, translation",
    "infer": "translate lines of a file or of standard input",
    "convert": "convert a checkpoint between published formats",
    "checkpoint": "show, average, choose or compare checkpoints; add tokens to one",
    "report": "compare runs in a table and a self-contained page",
}

_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            f"nmt5 {__version__}: continue mT5 pre-training on monolingual and parallel text.",
            "",
            "usage: nmt5 COMMAND [--gin_file=FILE] [--gin.NAME=VALUE] [options]",
            "",
            "commands:",
            *lines,
            "",
            "`nmt5 COMMAND --help` explains one. `make demo` shows the whole in eight minutes.",
        ]
    )


def _split_gin(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates T5X's way of setting a value, `--gin.NAME=VALUE`, from the other arguments."""
    bindings, others = [], []
    for argument in arguments:
        if argument.startswith("--gin.") and "=" in argument:
            bindings.append(argument.removeprefix("--gin."))
        else:
            others.append(argument)
    return bindings, others


def _quiet_libraries() -> None:
    """Keeps other programs' banners off the screen; set before any of them is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # TensorFlow only reads text here; with oneDNN on it announces so at each start.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # Orbax and TFDS warn of things that are as they should be.
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line.

    Args:
      arguments: the words behind `nmt5`.

    Returns:
      The process's exit code.

    Raises:
      UserError: anything that the user can mend.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        print(f"nmt5 {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(unknown_name("command", name, COMMANDS) + "; see `nmt5 --help`")
    module = importlib.import_module(f"nmt5.cli.{name}_command")
    parser = argparse.ArgumentParser(
        prog=f"nmt5 {name}",
        description=module.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="gin file with settings; may be given several times",
    )
    parser.add_argument(
        "--gin_scope",
        default="",
        metavar="NAME",
        help="read settings of this scope, NAME/Config.field, before unscoped ones",
    )
    module.add_arguments(parser)
    bindings, others = _split_gin(rest)
    args = parser.parse_args(others)
    args.gin_bindings = bindings
    return module.run(args) or 0


def main() -> None:
    """The console script's entry point."""
    if sys.argv[1:2] in (["train"], ["finetune"], ["convert"]):
        restart_with_huge_pages()
    _quiet_libraries()
    where = " ".join(["nmt5", *sys.argv[1:2]])
    try:
        code = run(sys.argv[1:])
    except UserError as error:
        print(f"{where}: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{where}: interrupted; the same command goes on from here", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `nmt5 show ... | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno not in _FULL_OR_FORBIDDEN:
            raise
        print(f"{where}: {error.filename or 'storage'}: {error.strerror}", file=sys.stderr)
        code = 2
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
