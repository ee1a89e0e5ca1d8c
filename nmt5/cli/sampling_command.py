"""`nmt5 sampling`: how often a run will read each language and pair."""

import argparse

from nmt5.cli import settings

DESCRIPTION = """\
Print the sampling audit of a mixture: per language and pair its tokens, its part of the text, its
weight, and the passes that a run of so many steps makes over it; and what part of the encoder
tokens and of the loss tokens each objective supplies. MIXTURE is a resolved mixture's JSON file,
which needs neither SeqIO nor TensorFlow, or a registered name whose corpora are in the store.

settings:
  Workspace.store
  Workspace.alpha, Workspace.parallel_share, Workspace.max_epochs, Workspace.budget_tokens
                    for a name that is resolved now, instead of the registered ones
  DataConfig.encoder_tokens_per_batch, DataConfig.inputs_length, DataConfig.row_lengths

example:
  nmt5 sampling runs/demo/store/mixtures/demo_mlm_nmt.json --steps 200 --gin_file=gin/demo.gin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument("mixture", help="JSON file of a resolved mixture, or a registered name")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the run (100,000)")
    parser.add_argument("--by_task", action="store_true", help="a line per task, not per pair")
    parser.add_argument(
        "--limit", type=int, default=40, metavar="N", help="lines per objective (40), 0 for all"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the passes as an SVG file")


def run(args: argparse.Namespace) -> None:
    """Prints the audit."""
    settings.parse(args, "Workspace", "DataConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        workspace.needs("store")
        config = settings.build("DataConfig", mixture=args.mixture, store=workspace.store)
    mixture = workspace.find_mixture(args.mixture)
    from nmt5.core.files import write_text
    from nmt5.data.mixture_audit import epochs_svg, group_table, plan_run
    from nmt5.data.sampling_audit import audit_table

    plans = plan_run(mixture, config, steps=args.steps)
    print(
        f"{mixture.name}: {args.steps:,} steps of {config.encoder_tokens_per_batch:,} encoder "
        "tokens; texts of mean length, rows packed without gaps\n"
    )
    print(group_table(plans))
    tables = {p.objective: p.by_task() if args.by_task else p.by_languages() for p in plans}
    for objective, rows in tables.items():
        print(f"\n{objective}")
        print(audit_table(rows, limit=args.limit))
    if args.plot:
        write_text(args.plot, epochs_svg(tables, title=f"{mixture.name}, {args.steps:,} steps"))
        print(f"\nwrote {args.plot}")
