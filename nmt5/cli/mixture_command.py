"""`nmt5 mixture NAME`: resolves a registered mixture."""

import argparse

from nmt5.cli import settings

DESCRIPTION = """\
Resolve a registered SeqIO mixture or task against a vocabulary and a store: its tasks, corpora,
objectives with settings, rates, shares. Prints a summary; with --output writes the JSON file that
training reads.

settings:
  Workspace.vocabulary, Workspace.store, Workspace.alpha, Workspace.parallel_share

example:
  nmt5 mixture demo_mlm_nmt --gin_file=gin/demo.gin --gin.Workspace.parallel_share=0.2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument("name", help="registered mixture or task")
    parser.add_argument("--output", metavar="FILE", help="where to write the JSON file")


def run(args: argparse.Namespace) -> None:
    """Resolves, prints, and writes if asked."""
    settings.parse(args, "Workspace")
    with settings.scope(args):
        workspace = settings.build("Workspace")
    mixture = workspace.resolve(args.name)
    from nmt5.data.mixture import write_mixture

    for group in mixture.groups:
        total = sum(task.rate for task in group.tasks)
        print(f"{group.objective}: {group.share:.1%} of encoder tokens, {len(group.tasks)} tasks")
        by_rate = sorted(group.tasks, key=lambda task: -task.rate)
        for task in by_rate[:5]:
            print(f"  {task.rate / total:7.2%}  {task.name}  from {task.corpus}")
        if len(by_rate) > 5:
            print(f"  ... and {len(by_rate) - 5} more")
    if args.output:
        write_mixture(mixture, args.output)
        print(f"wrote {args.output}")
