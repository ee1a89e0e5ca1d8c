"""`nmt5 report`: compares runs in a table and in one self-contained page."""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import os

from nmt5.cli import settings
from nmt5.core.errors import ConfigError, unknown_name

DESCRIPTION = """\
Compare runs: loss curves, what was sampled of each language against what was asked, retrieval
and translation scores. Prints the headline as a table and writes one HTML page that needs no
network.

settings:
  Report.runs      {'name': 'run directory', ...} in the order of the table
  Report.compare   (('first', 'second'), ...) pairs whose retrieval is compared message by message
  Report.output    the page's path
  Report.title, Report.subtitle

example:
  nmt5 report --gin_file=gin/demo.gin
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What the page shows.

    Attributes:
      runs: `{name: run directory}`.
      output: where to write the page.
      compare: pairs of names.
      title: of the page.
      subtitle: a line below it.
    """

    runs: Mapping[str, str]
    output: str
    compare: Sequence[tuple[str, str]] = ()
    title: str = "nmt5"
    subtitle: str = ""

    def __post_init__(self):
        if not isinstance(self.runs, Mapping) or not self.runs:
            raise ConfigError(
                f"Report.runs is {self.runs!r}; give {{'name': 'run directory', ...}}"
            )
        for pair in self.compare:
            if len(pair) != 2:
                raise ConfigError(f"Report.compare: {pair!r} is not a pair of names")
            for name in pair:
                if name not in self.runs:
                    raise ConfigError("Report.compare: " + unknown_name("run", name, self.runs))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""


def run(args: argparse.Namespace) -> None:
    """Prints the table and writes the page."""
    settings.parse(args, "Report")
    with settings.scope(args):
        report = settings.build("Report")
    from nmt5.evaluation.runner import compare
    from nmt5.report.page import headline, page, translations, write_page
    from nmt5.report.run_record import read_run

    records = [read_run(directory, name=name) for name, directory in report.runs.items()]
    comparisons = [
        compare(report.runs[first], second=report.runs[second]) | {"first": first, "second": second}
        for first, second in report.compare
    ]
    write_page(
        report.output,
        page(records, title=report.title, subtitle=report.subtitle, comparisons=comparisons),
    )
    print(headline(records, comparisons=comparisons))
    if shown := translations(records):
        print("\n" + shown)
    print(f"\nthe whole comparison: {os.path.abspath(report.output)}")
