"""One HTML page that holds everything: no script, no network, light and dark."""

from collections.abc import Mapping, Sequence
import html
import os
from typing import Any

from nmt5.core.errors import ConfigError
from nmt5.core.files import write_text
from nmt5.report import sections
from nmt5.report.run_record import RunRecord
from nmt5.report.tables import text_table

_STYLE = """
:root { color-scheme: light dark;
  --page: #fcfcfb; --panel: #ffffff; --ink: #1a1a19; --soft: #63625e; --edge: #e3e2dd;
  --series-0: #7a7974; --series-1: #2a78d6; --series-2: #d9541e;
  --series-3: #178f65; --series-4: #8a4fc4; --series-5: #b7860b; }
@media (prefers-color-scheme: dark) { :root {
  --page: #161615; --panel: #1f1f1d; --ink: #f1f0ec; --soft: #a5a49e; --edge: #383835;
  --series-0: #a09f99; --series-1: #5598e7; --series-2: #ee7a48;
  --series-3: #2fb886; --series-4: #b083e3; --series-5: #d9a827; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 880px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 0 0 10px; }
header p, section > p { color: var(--soft); margin: 0 0 12px; }
section { background: var(--panel); border: 1px solid var(--edge); border-radius: 10px;
  padding: 18px 20px; margin: 20px 0; }
figure { margin: 14px 0; } figcaption { font-weight: 600; margin-bottom: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--edge); text-align: right;
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 500; }
td.text { text-align: start; white-space: normal; min-width: 150px; max-width: 260px;
  overflow-wrap: anywhere; }
.samples th { text-align: left; }
summary { cursor: pointer; color: var(--soft); margin: 10px 0 6px; }
details[open] > summary { color: var(--ink); }
pre, code { font: 12px/1.45 ui-monospace, SFMono-Regular, Menlo, monospace;
  overflow-x: auto; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: var(--ink); }
svg text[text-anchor="middle"], svg .axis { fill: var(--soft); }
.grid { stroke: var(--edge); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.bar { stroke-width: 1.5; opacity: 0.55; }
.mark { stroke: var(--ink); stroke-width: 1.5; }
.legend { font-size: 13px; color: var(--soft); margin: 2px 0 4px; }
.key { margin-right: 18px; white-space: nowrap; }
.key i { display: inline-block; width: 18px; border-top: 3px solid; vertical-align: middle;
  margin-right: 6px; }
.key i.tick { width: 0; height: 12px; border-top: 0; border-left: 2px solid var(--ink); }
"""


def headline(runs: Sequence[RunRecord], *, comparisons: Sequence[Mapping[str, Any]] = ()) -> str:
    """Returns the table that is the answer, for the terminal.

    Args:
      runs: the models, in the order of the rows.
      comparisons: results of `nmt5.evaluation.runner.compare` with the names of the two runs as
        `first` and `second`.
    """
    header, rows = sections.headline_rows(runs, comparisons)
    return text_table(header, rows=rows)


def translations(runs: Sequence[RunRecord], *, samples: int = 3) -> str:
    """Returns translation scores and a few translations of the runs that have some, as text."""
    parts = []
    for run in runs:
        header, rows = sections.translation_rows(run)
        if not rows:
            continue
        parts.append(f"{run.name}: translation of held-out messages [95%]")
        parts.append(text_table(header, rows=rows))
        # From English, whose input every reader can judge; one for each language.
        found: dict[str, Mapping[str, str]] = {}
        for sample in run.scores.get("samples") or []:
            if sample["source_language"] == "en":
                found.setdefault(sample["target_language"], sample)
        for sample in list(found.values())[:samples]:
            parts.append(
                f"  {sample['source_language']}: {sample['source']}\n"
                f"  {sample['target_language']}: {sample['output']}   "
                f"(by people: {sample['reference']})"
            )
    return "\n".join(parts)


def page(
    runs: Sequence[RunRecord],
    *,
    title: str = "nmt5",
    subtitle: str = "",
    comparisons: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Returns the page.

    Args:
      runs: the models, in the order in which they are listed and coloured.
      title: heading.
      subtitle: a line below it.
      comparisons: as in `headline`.

    Raises:
      ConfigError: no runs, or two of one name.
      DataError: a run and its mixture do not belong together.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) != len(names):
        raise ConfigError(f"report: runs {names}: give one or more, each with its own name")
    header, rows = sections.headline_rows(runs, comparisons)
    answer = f"<section><h2>Result</h2>{sections.table_html(header, rows)}</section>"
    body = "".join(
        [
            answer,
            sections.retrieval_section(runs),
            sections.loss_section(runs),
            sections.translation_section(runs),
            sections.sampling_section(runs),
            sections.settings_section(runs),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p></header>"
        f"{body}</main></body></html>\n"
    )


def write_page(path: os.PathLike | str, content: str) -> None:
    """Writes the page completely or not at all; raises `StorageError`."""
    write_text(path, content)
