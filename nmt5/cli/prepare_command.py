"""`nmt5 prepare`: tokenises the corpora of some mixtures and writes the resolved mixtures."""

import argparse
import sys

from nmt5.cli import settings

DESCRIPTION = """\
Tokenise every corpus of the mixtures once and write it to the store (ArrayRecord files and
corpus.json), then resolve the mixtures to STORE/mixtures/NAME.json, the only thing that training
reads of the registry. Finished corpora are kept; an interrupted run goes on.

settings:
  Workspace.vocabulary, Workspace.store, Workspace.mixtures
  Workspace.data                   root of raw text, instead of $NMT5_DATA
  Workspace.alpha, Workspace.parallel_share   instead of the registered ones
  Workspace.task_lengths           (inputs, targets) of SeqIO tasks that bring preprocessors of
                                   their own; (512, 512)
  PrepareConfig.segment_tokens     ids per monolingual record, 1137 for rows of 1024
  PrepareConfig.runner             "local", or the name of a Beam runner
  PrepareConfig.runner_options     further Beam options

example:
  nmt5 prepare --gin_file=gin/demo.gin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--runner", help="Beam runner, instead of PrepareConfig.runner: DataflowRunner, FlinkRunner"
    )


def run(args: argparse.Namespace) -> None:
    """Writes the store and the mixtures."""
    settings.parse(args, "Workspace", "PrepareConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        workspace.needs("vocabulary", "store", "mixtures")
        chosen = {"runner": args.runner} if args.runner else {}
        config = settings.build(
            "PrepareConfig", store=workspace.store, vocabulary=workspace.vocabulary, **chosen
        )
    from nmt5.cli import preparation_record

    if record := preparation_record.nothing_to_do(workspace, config):
        print(
            f"prepare: {config.store}: nothing to do: {len(record['corpora'])} corpora and "
            f"{len(record['mixtures'])} mixtures are there, and no source, setting or code of "
            "theirs has changed"
        )
        return
    corpora = workspace.corpora()
    from nmt5.data.mixture import write_mixture
    from nmt5.data.prepare import prepare
    from nmt5.data.prepare_progress import ProgressLine

    print(f"prepare: {len(corpora)} corpora of {', '.join(workspace.mixtures)}", flush=True)
    ready_made = [corpus.source.task for corpus in corpora if corpus.source.holds_ids]
    if ready_made:
        more = ", ..." if len(ready_made) > 3 else ""
        print(
            f"prepare: {len(ready_made)} SeqIO tasks with preprocessors of their own "
            f"({', '.join(ready_made[:3])}{more}): read through SeqIO, at its speed, once; noise "
            "that they draw is the same in every epoch"
        )
    prepared = prepare(config, corpora, progress=ProgressLine(sys.stderr))
    examples, tokens, dropped = 0, 0, 0
    for info in prepared.corpora.values():
        for split in info.splits.values():
            examples += split.examples
            tokens += sum(split.tokens.values())
            dropped += sum(split.dropped.values())
    print(
        f"prepare: {config.store}: {len(prepared.written)} corpora written, {len(prepared.kept)} "
        f"kept; {examples:,} examples, {tokens:,} token ids, {dropped:,} dropped "
        "(reasons in each corpus.json)"
    )
    for note in prepared.notes[:5]:
        print(f"prepare: note: {note}")
    if len(prepared.notes) > 5:
        print(f"prepare: {len(prepared.notes) - 5} further notes of the same kind")
    for name in workspace.mixtures:
        path = workspace.mixture_path(name)
        mixture = workspace.resolve(name)
        write_mixture(mixture, path)
        workspace.note_changes(name)
        shares = ", ".join(f"{g.objective} {g.share:.0%}" for g in mixture.groups)
        print(f"prepare: {path}: {sum(len(g.tasks) for g in mixture.groups)} tasks; {shares}")
    watched = preparation_record.watched_of(workspace)
    if watched is not None:
        preparation_record.write_record(workspace, config, prepared, watched=watched)
