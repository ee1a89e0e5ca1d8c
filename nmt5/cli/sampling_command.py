"""`nmt5 sampling`: how often a run will read each language and pair."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nmt5.cli import settings
from nmt5.cli.workspace import Workspace
from nmt5.core.errors import ConfigError

if TYPE_CHECKING:
    from nmt5.data.sampling_audit import AuditRow

DESCRIPTION = """\
Print the sampling audit of a mixture: per language and pair its tokens, its part of the text, its
weight, and the passes that a run of so many steps makes over it; and what part of the encoder
tokens and of the loss tokens each objective supplies. MIXTURE is

  the JSON file of a resolved mixture, which needs neither SeqIO nor TensorFlow;
  a registered name whose corpora are in the store, or, with --published, have published sizes;
  a table of counts, FILE.tsv: a language or pair and a number per line.

settings:
  Workspace.store
  Workspace.sampling                     'alpha', 'unimax', 'sinkhorn' or 'sinkhorn_entropic'
  Workspace.alpha, Workspace.temperature, Workspace.counts, Workspace.max_epochs,
  Workspace.budget_tokens, Workspace.parallel_share, Workspace.shares
                                         for a name or table, instead of the registered ones
  DataConfig.encoder_tokens_per_batch, DataConfig.inputs_length, DataConfig.row_lengths

example:
  nmt5 sampling runs/demo/store/mixtures/demo_mlm_nmt.json --steps 200 --gin_file=gin/demo.gin
  nmt5 sampling mlm_nmt --published
  nmt5 sampling pairs.tsv --gin.Workspace.sampling=sinkhorn --gin.Workspace.temperature=2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument("mixture", help="JSON file, registered name, or table of counts (.tsv)")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the run (100,000)")
    parser.add_argument("--by_task", action="store_true", help="a line per task, not per pair")
    parser.add_argument(
        "--limit", type=int, default=40, metavar="N", help="lines per table (40), 0 for all"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the passes as an SVG file")
    parser.add_argument(
        "--published",
        action="store_true",
        help="sizes as the corpora's authors give them, no store (mC4, OPUS-100)",
    )
    parser.add_argument(
        "--bytes_per_id",
        type=float,
        metavar="B",
        help="with --published: mean UTF-8 bytes per token id (3.5)",
    )
    parser.add_argument(
        "--drawn", type=float, metavar="N", help="of a table: what a run draws, in its unit"
    )


def run(args: argparse.Namespace) -> None:
    """Prints the audit."""
    settings.parse(args, "Workspace", "DataConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        config = settings.build("DataConfig", mixture=args.mixture, store=workspace.store)
    if args.bytes_per_id is not None and not args.published:
        raise ConfigError("sampling: --bytes_per_id is for --published sizes")
    if args.drawn is not None and not args.mixture.endswith(".tsv"):
        raise ConfigError("sampling: --drawn is for a table of counts; a mixture has --steps")
    if args.mixture.endswith(".tsv"):
        _audit_table(args, workspace)
    else:
        _audit_mixture(args, workspace, config)


def _audit_mixture(args: argparse.Namespace, workspace: Workspace, config) -> None:
    sizes = None
    if args.published:
        mixture, sizes = _published(args, workspace, config)
    else:
        _needs_store(workspace)
        mixture = workspace.find_mixture(args.mixture)
    from nmt5.data.mixture_audit import group_table, plan_run
    from nmt5.data.sampling_audit import audit_table

    plans = plan_run(mixture, config, steps=args.steps, sizes=sizes)
    print(
        f"{mixture.name}: {args.steps:,} steps of {config.encoder_tokens_per_batch:,} encoder "
        "tokens; texts of mean length, rows packed without gaps\n"
    )
    print(group_table(plans))
    tables = {}
    for plan in plans:
        rows = plan.by_task() if args.by_task else plan.by_languages()
        tables[plan.objective] = rows
        print(f"\n{plan.objective}")
        print(audit_table(rows, limit=args.limit))
        if plan.left_out:
            drawn = len(plan.tasks)
            print(
                f"{drawn} of {drawn + len(plan.left_out)} tasks are drawn; never drawn: "
                + ", ".join(plan.left_out[:5])
                + (", ..." if len(plan.left_out) > 5 else "")
            )
        if not args.by_task and len(plan.tasks[0].task.languages) == 2:
            print(f"\n{plan.objective}: languages, each with half of its pairs' tokens")
            print(audit_table(plan.by_language(), limit=args.limit))
    _plot(args, tables, title=f"{mixture.name}, {args.steps:,} steps")


def _needs_store(workspace: Workspace) -> None:
    if not workspace.store:
        raise ConfigError(
            "settings: Workspace.store must be set, in a gin file or as --gin.Workspace.store=...; "
            "or audit a mixture of mC4 and OPUS-100 by their --published sizes, or a table of "
            "counts"
        )


def _published(args: argparse.Namespace, workspace: Workspace, config):
    workspace.register()
    from nmt5.data.published_sizes import BYTES_PER_ID, published_mixture
    from nmt5.data.registry import changed_definition

    bytes_per_id = BYTES_PER_ID if args.bytes_per_id is None else args.bytes_per_id
    found = published_mixture(
        changed_definition(args.mixture, **workspace.changes()),
        bytes_per_id=bytes_per_id,
        inputs_length=config.inputs_length,
    )
    print(
        f"sizes as published; assumed: {bytes_per_id} bytes per id of a sentence, 4 ids of a "
        "language code, pages of mC4 of one mean length"
    )
    return found


def _audit_table(args: argparse.Namespace, workspace: Workspace) -> None:
    from nmt5.data.count_tables import counts_of
    from nmt5.data.sampling_audit import audit_table
    from nmt5.data.table_audit import audit_counts

    changes = workspace.changes()
    unused = sorted(set(changes) - {"sampling", "alpha", "temperature", "max_epochs"})
    if unused:
        raise ConfigError(
            f"sampling: a table of counts has no use for Workspace.{unused[0]}; it is for mixtures"
        )
    audits = audit_counts(
        counts_of([args.mixture]),
        sampling=workspace.sampling or "alpha",
        alpha=workspace.alpha,
        temperature=workspace.temperature,
        max_epochs=workspace.max_epochs,
        drawn=args.drawn,
    )
    drawn = "as much as there is" if args.drawn is None else f"{args.drawn:,.0f}"
    print(f"{args.mixture}: tokens are in the table's unit; a run draws {drawn}")
    for found in audits:
        print(f"\n{found.title}")
        print(audit_table(found.rows, limit=args.limit))
        if found.note:
            print(found.note)
    _plot(args, {found.title: found.rows for found in audits}, title=args.mixture)


def _plot(args: argparse.Namespace, tables: Mapping[str, "list[AuditRow]"], *, title: str) -> None:
    if not args.plot:
        return
    from nmt5.core.files import write_text
    from nmt5.data.sampling_plot import epochs_svg

    write_text(args.plot, epochs_svg(tables, title=title))
    print(f"\nwrote {args.plot}")
