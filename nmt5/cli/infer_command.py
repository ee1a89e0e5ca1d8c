"""`nmt5 infer`: outputs for the lines of a file or of standard input, or for a registered task."""

import argparse
import contextlib
import dataclasses
import sys

from nmt5.cli import settings
from nmt5.cli.evaluate_command import progress_line
from nmt5.core.errors import ConfigError, DataError
from nmt5.core.files import storage_faults

DESCRIPTION = """\
Write the checkpoint's output for each line: a translation with --language, whatever the checkpoint
was fine-tuned for without. Progress and speed go to standard error, so standard output holds
outputs only.

With INFER_OUTPUT_DIR it decodes a task's split instead (a benchmark, a SeqIO task or mixture, own
files) and writes what T5X's infer writes: <task>-predict.jsonl-00000-of-00001.

settings:
  Workspace.vocabulary        the vocabulary of the checkpoint
  Workspace.code_template, .code_position   as the checkpoint was trained
  DecodingConfig.method       'greedy', 'beam' or 'sample'; beam_size, alpha, max_output_tokens, ...
of a task:
  TaskConfig.*                as of `nmt5 evaluate`
  Evaluation.languages, .split, .max_examples   a part of it; test unless set
  MIXTURE_OR_TASK_NAME, CHECKPOINT_PATH, INFER_OUTPUT_DIR   T5X's names for TaskConfig.name,
                              --checkpoint and the directory

example:
  echo 'Sign in' | nmt5 infer --gin_file=gin/demo.gin --checkpoint=runs/demo/mlm_nmt --language=fr
  nmt5 infer --gin.Workspace.vocabulary=bytes --checkpoint=runs/xsid_intent/training \\
    --input=questions.tsv --column=question --output=intents.jsonl --jsonl
  nmt5 infer --gin.MIXTURE_OR_TASK_NAME=xsid_intent --gin.TaskConfig.data=data \\
    --gin.CHECKPOINT_PATH=runs/xsid_intent/training --gin.INFER_OUTPUT_DIR=runs/outputs \\
    --gin.Workspace.vocabulary=bytes
"""
# Options that say how lines are read and written, with their defaults.
_OF_LINES = {"language": None, "input": "-", "column": None, "output": "-", "jsonl": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--checkpoint",
        default=None,
        help="run or checkpoint directory, or a public checkpoint; or CHECKPOINT_PATH",
    )
    parser.add_argument("--language", default=None, help="code of the language to translate into")
    parser.add_argument("--input", default="-", metavar="FILE", help="lines; '-' is standard input")
    parser.add_argument(
        "--column",
        default=None,
        metavar="C",
        help="of tab-separated lines: a number from 0, or a name in the first line",
    )
    parser.add_argument("--output", default="-", metavar="FILE", help="'-' is standard output")
    parser.add_argument(
        "--jsonl", action="store_true", help="write source, output and score as JSON lines"
    )


def run(args: argparse.Namespace) -> None:
    """Writes outputs until the input ends, or those of a task."""
    settings.parse(args, "Workspace", "DecodingConfig", "TaskConfig", "Evaluation")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        decoding = settings.build("DecodingConfig")
        checkpoint = _checkpoint(args)
        directory = settings.macro("INFER_OUTPUT_DIR")
        name = settings.macro("MIXTURE_OR_TASK_NAME")
        if name and not directory:
            raise ConfigError(
                "settings: INFER_OUTPUT_DIR must be set: where the outputs on "
                f"MIXTURE_OR_TASK_NAME={name} are written"
            )
        workspace.needs("vocabulary")
        if directory:
            task = settings.build("TaskConfig")
            task = dataclasses.replace(task, name=name) if name else task
            evaluation = settings.build("Evaluation")
    if directory:
        _infer_task(args, checkpoint, directory, workspace, decoding, task, evaluation)
    else:
        _infer_lines(args, checkpoint, workspace, decoding)


def _checkpoint(args: argparse.Namespace) -> str:
    given = [one for one in (args.checkpoint, settings.macro("CHECKPOINT_PATH")) if one]
    if len(given) != 1 or not isinstance(given[0], str):
        found = ", ".join(map(str, given)) or "none"
        raise ConfigError(f"infer: one checkpoint, --checkpoint or CHECKPOINT_PATH; found {found}")
    return given[0]


def _infer_task(
    args: argparse.Namespace, checkpoint: str, directory: str, workspace, decoding, task, evaluation
) -> None:
    if odd := [f"--{name}" for name, default in _OF_LINES.items() if vars(args)[name] != default]:
        raise ConfigError(
            f"infer: {', '.join(odd)} are for lines, INFER_OUTPUT_DIR is for a task; leave one out"
        )
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.task_config import resolve_task
    from nmt5.evaluation.task_inference import infer_task
    from nmt5.evaluation.task_runner import TaskEvaluation

    benchmark = resolve_task(task, register=workspace.register, scored=False)
    infer_task(
        checkpoint,
        benchmark=benchmark,
        task=task,
        wanted=TaskEvaluation(
            languages=evaluation.languages,
            split=evaluation.split,
            max_examples=evaluation.max_examples,
        ),
        vocabulary=Vocabulary.load(workspace.vocabulary),
        output_dir=directory,
        decoding=decoding,
        say=_say,
        progress=progress_line if sys.stderr.isatty() else None,
    )


def _infer_lines(args: argparse.Namespace, checkpoint: str, workspace, decoding) -> None:
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.infer import InferConfig, column_of, infer_lines
    from nmt5.evaluation.loading import load_model

    given = {"code_template": workspace.code_template, "code_position": workspace.code_position}
    given = {name: value for name, value in given.items() if value is not None}
    config = InferConfig(args.language, **given)
    with contextlib.ExitStack() as files:
        lines, output = sys.stdin, sys.stdout
        if args.input != "-":
            with storage_faults("reading lines", args.input):
                lines = files.enter_context(open(args.input, encoding="utf-8", newline="\n"))
        if args.column is not None:
            source = "standard input" if args.input == "-" else args.input
            lines = column_of(lines, column=args.column, name=source)
        vocabulary = Vocabulary.load(workspace.vocabulary)
        model = load_model(checkpoint, vocabulary=vocabulary)
        if args.output != "-":
            with storage_faults("writing outputs", args.output):
                output = files.enter_context(open(args.output, "w", encoding="utf-8"))

        try:
            for found in infer_lines(
                lines, model=model, config=config, decoding=decoding, say=_say
            ):
                output.write(found.to_json_line() if args.jsonl else found.output + "\n")
        except UnicodeDecodeError as error:
            raise DataError(f"infer: {args.input} is not UTF-8 ({error})") from error


def _say(line: str) -> None:
    print(f"nmt5 infer: {line}", file=sys.stderr, flush=True)
