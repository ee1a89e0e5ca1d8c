"""`nmt5 infer`: translates the lines of a file or of standard input, or does any other task."""

import argparse
import contextlib
import sys

from nmt5.cli import settings
from nmt5.core.errors import DataError
from nmt5.core.files import storage_faults

DESCRIPTION = """\
Write the checkpoint's output for each line: a translation with --language, whatever the checkpoint
was fine-tuned for without. Progress and speed go to standard error, so standard output holds
outputs only.

settings:
  Workspace.vocabulary        the vocabulary of the checkpoint
  Workspace.code_template, .code_position   as the checkpoint was trained
  DecodingConfig.method       'greedy', 'beam' or 'sample'; beam_size, alpha, max_output_tokens, ...

example:
  echo 'Sign in' | nmt5 infer --gin_file=gin/demo.gin --checkpoint=runs/demo/mlm_nmt --language=fr
  nmt5 infer --gin.Workspace.vocabulary=bytes --checkpoint=runs/xsid_intent/training \\
    --input=questions.tsv --column=question --output=intents.jsonl --jsonl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--checkpoint", required=True, help="run or checkpoint directory, or a public checkpoint"
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
    """Writes outputs until the input ends."""
    settings.parse(args, "Workspace", "DecodingConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        decoding = settings.build("DecodingConfig")
    workspace.needs("vocabulary")
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
        model = load_model(args.checkpoint, vocabulary=vocabulary)
        if args.output != "-":
            with storage_faults("writing outputs", args.output):
                output = files.enter_context(open(args.output, "w", encoding="utf-8"))

        def say(line: str) -> None:
            print(f"nmt5 infer: {line}", file=sys.stderr, flush=True)

        try:
            for found in infer_lines(lines, model=model, config=config, decoding=decoding, say=say):
                output.write(found.to_json_line() if args.jsonl else found.output + "\n")
        except UnicodeDecodeError as error:
            raise DataError(f"infer: {args.input} is not UTF-8 ({error})") from error
