"""`nmt5 show`: what the model will see of a mixture."""

import argparse
from collections.abc import Sequence
import dataclasses
import sys
from typing import TYPE_CHECKING

from nmt5.cli import settings
from nmt5.core.errors import ConfigError

if TYPE_CHECKING:
    from nmt5.cli.workspace import Workspace
    from nmt5.data.vocabulary import Vocabulary

DESCRIPTION = """\
Print examples of a mixture before and after the objective, decoded; with --rows packed rows,
segment by segment; with --batch the rows of a batch that a run saved when its numbers went bad;
with --stats what some batches hold: realised shares of tasks, lengths, fill,
examples cut to fit or dropped when the corpora were prepared. MIXTURE is a resolved mixture's JSON
file, which needs neither SeqIO nor TensorFlow, or a registered name.

settings:
  Workspace.vocabulary, Workspace.store
  DataConfig.inputs_length, DataConfig.row_lengths, DataConfig.seed
  DataConfig.encoder_tokens_per_batch   size of a batch, for --stats

example:
  nmt5 show runs/demo/store/mixtures/demo_mlm_nmt.json --n 5 --gin_file=gin/demo.gin
"""

_SEGMENT_COLOURS = (36, 33, 32, 35)
_SENTINEL_COLOUR = 31


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "mixture", nargs="?", help="JSON file of a resolved mixture, or a registered name"
    )
    parser.add_argument("--batch", metavar="FILE", help="print a run's bad_batch_<step>.npz")
    parser.add_argument("--n", type=int, default=5, metavar="N", help="examples to print (5)")
    parser.add_argument("--rows", type=int, metavar="N", help="print N packed rows per objective")
    parser.add_argument("--stats", type=int, metavar="N", help="count what is in N batches")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="tasks to list with --stats, 0 for all"
    )


def run(args: argparse.Namespace) -> None:
    """Prints examples, rows or statistics."""
    settings.parse(args, "Workspace", "DataConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        if args.batch is not None:
            _show_batch(args.batch, workspace, rows=args.rows)
            return
        if args.mixture is None:
            raise ConfigError("show: MIXTURE is missing, expected its JSON file or its name")
        workspace.needs("store")
        config = settings.build("DataConfig", mixture=args.mixture, store=workspace.store)
    mixture = workspace.find_mixture(args.mixture)
    from nmt5.data import inspection

    if args.stats is not None:
        found = inspection.statistics(mixture, config, batches=args.stats)
        print(inspection.statistics_table(found, limit=args.limit))
        return
    workspace.needs("vocabulary")
    from nmt5.data.vocabulary import Vocabulary, require_same

    vocabulary = Vocabulary.load(workspace.vocabulary)
    require_same(
        mixture.vocabulary.fingerprint, vocabulary.fingerprint, where=f"mixture '{mixture.name}'"
    )
    painter = _Painter(vocabulary, colours=sys.stdout.isatty())
    if args.rows is not None:
        if args.rows < 1:
            raise ConfigError(f"--rows {args.rows}, expected at least 1")
        # A batch just large enough for so many rows of every shape.
        smallest = min(group.share for group in mixture.groups)
        tokens = min(int(args.rows * config.inputs_length / smallest), 1 << 20)
        config = dataclasses.replace(config, encoder_tokens_per_batch=tokens)
        for row in inspection.first_rows(mixture, config, number=args.rows):
            print(f"{row.objective}, {len(row.inputs)} segments, padding {row.padding}")
            print(f"  inputs   {painter.row(row.inputs)}")
            print(f"  targets  {painter.row(row.targets)}\n")
        return
    for seen in inspection.first_examples(mixture, config, number=args.n):
        example = seen.example
        cut = ", cut to fit" if example.truncated else ""
        print(
            f"{seen.objective}: {seen.task.name}, {len(example.inputs)} -> "
            f"{len(example.targets)} tokens{cut}"
        )
        for number, (language, ids) in enumerate(
            zip(seen.task.languages, seen.segments, strict=True)
        ):
            print(f"  {language:8} {painter.segment(ids, number)}")
        print(f"  inputs   {painter.text(example.inputs)}")
        print(f"  targets  {painter.text(example.targets)}\n")


def _show_batch(path: str, workspace: "Workspace", *, rows: int | None) -> None:
    """Prints the rows of a saved batch, at most `rows` of each objective."""
    workspace.needs("vocabulary")
    from nmt5.data.saved_batch import read_batch, saved_rows
    from nmt5.data.vocabulary import Vocabulary, require_same

    arrays, facts = read_batch(path)
    vocabulary = Vocabulary.load(workspace.vocabulary)
    require_same(facts["vocabulary_fingerprint"], vocabulary.fingerprint, where=f"batch {path}")
    painter = _Painter(vocabulary, colours=sys.stdout.isatty())
    print(f"mixture '{facts['mixture']}', step {facts['step']}, loss {facts['loss']}\n")
    for objective, group in arrays.items():
        found = list(saved_rows({objective: group}))
        for number, row in enumerate(found[:rows]):
            print(f"{objective}, row {number}: {len(row.inputs)} segments, padding {row.padding}")
            print(f"  inputs   {painter.row(row.inputs)}")
            print(f"  targets  {painter.row(row.targets)}\n")
        if rows is not None and len(found) > rows:
            print(f"{objective}: {len(found) - rows} rows more\n")


class _Painter:
    """Decodes ids to text in one line; on a terminal in colours."""

    def __init__(self, vocabulary: "Vocabulary", *, colours: bool):
        self._vocabulary = vocabulary
        self._colours = colours
        ids = vocabulary.token_ids
        self._sentinels = range(ids.size - ids.num_sentinels, ids.size)

    def segment(self, ids: Sequence[int], number: int) -> str:
        """Returns the text of one segment in the colour of its number."""
        return self._paint(self._decode(ids), _SEGMENT_COLOURS[number % len(_SEGMENT_COLOURS)])

    def row(self, segments: Sequence[Sequence[int]]) -> str:
        """Returns segments behind one another; without colours a bar parts them."""
        parted = " " if self._colours else " | "
        return parted.join(self.segment(ids, number) for number, ids in enumerate(segments))

    def text(self, ids: Sequence[int]) -> str:
        """Returns the text of an example, its sentinels in a colour of their own."""
        if not self._colours:
            return self._decode(ids)
        from nmt5.data.inspection import split_at

        return " ".join(
            self._paint(self._decode(run), _SENTINEL_COLOUR) if is_mark else self._decode(run)
            for is_mark, run in split_at(ids, marks=self._sentinels)
        )

    def _decode(self, ids: Sequence[int]) -> str:
        # Terminals would obey control characters that a text holds.
        text = self._vocabulary.decode(ids).replace("\n", "\\n")
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

    def _paint(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text
