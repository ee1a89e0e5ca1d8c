"""The parts of the page, each a function from run records to HTML; "" where there is nothing."""

from collections.abc import Mapping, Sequence
import html
import json
import math
from typing import Any

from nmt5.core.errors import DataError
from nmt5.data.languages import ENGLISH_NAMES
from nmt5.data.mixture import GroupSpec, Mixture
from nmt5.report.plots import Dot, DotRow, Line, dot_chart, line_chart
from nmt5.report.run_record import ALL, RunRecord
from nmt5.report.tables import with_interval


def headline_rows(
    runs: Sequence[RunRecord], comparisons: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of the table that is the answer, as plain text.

    Args:
      runs: the models, in the order of the rows.
      comparisons: results of `nmt5.evaluation.runner.compare` with the names `first` and `second`.
    """
    objectives = _objectives(runs)
    header = ["model", "retrieval accuracy % [95%]", "chance %"]
    header += [f"held-out {objective} loss" for objective in objectives]
    rows = []
    for run in runs:
        macro = ((run.scores or {}).get("retrieval") or {}).get("macro")
        cells = [run.name]
        cells += [interval_text(macro), f"{macro['chance']:.1f}"] if macro else ["-", "-"]
        losses = run.heldout_losses()
        cells += [f"{losses[o][-1][1]:.3f}" if losses.get(o) else "-" for o in objectives]
        rows.append(cells)
    for comparison in comparisons:
        macro = comparison["macro"]
        interval = with_interval(macro["value"], macro["low"], macro["high"])
        sign = "+" if macro["value"] > 0 else ""
        label = f"{comparison['second']} - {comparison['first']}"
        text = f"{sign}{interval}, p {_p_value(macro['p_value'])}"
        rows.append([label, text, *[""] * (len(header) - 2)])
    return header, rows


def interval_text(score: Mapping[str, float]) -> str:
    """Returns `12.3 [10.0, 14.5]` of a score in JSON."""
    return with_interval(score["value"], score["low"], score["high"])


def loss_section(runs: Sequence[RunRecord]) -> str:
    """Returns training loss per objective and held-out loss of all runs."""
    parts = []
    for title, curves_of in (
        ("Training loss", RunRecord.train_losses),
        ("Held-out loss", RunRecord.heldout_losses),
    ):
        curves = [curves_of(run) for run in runs]
        # One language alone says little over steps; objectives and the whole are drawn.
        names = sorted({name for found in curves for name in found if " " not in name})
        if len(names) > 1 and ALL in names:
            names.remove(ALL)  # a mean over objectives that are not alike
        for name in names:
            lines = [
                Line(run.name, found[name], colour)
                for colour, (run, found) in enumerate(zip(runs, curves, strict=True))
                if name in found
            ]
            chart = line_chart(lines, x_label="step", y_label="loss per target token, nats")
            what = "" if name == ALL else f": {_nice(name)}"
            parts.append(_figure(f"{title}{what}", chart))
    parts += [_heldout_table(runs, name) for name in _objectives(runs)]
    return _section("Loss", "".join(parts))


def _objectives(runs: Sequence[RunRecord]) -> list[str]:
    return sorted({name for run in runs for name in run.heldout_losses() if " " not in name})


def _heldout_table(runs: Sequence[RunRecord], objective: str) -> str:
    """Returns the last held-out loss of one objective per language."""
    losses = [run.heldout_losses() for run in runs]
    start = f"{objective} "
    keys = sorted({key for found in losses for key in found if key.startswith(start)})
    if not keys:
        return ""
    rows = [
        [
            _language(key.removeprefix(start)),
            *(f"{found[key][-1][1]:.3f}" if key in found else "" for found in losses),
        ]
        for key in keys
    ]
    header = ["language", *(run.name for run in runs)]
    return _details(f"Held-out {_nice(objective)} loss by language", _table(header, rows))


def retrieval_section(runs: Sequence[RunRecord]) -> str:
    """Returns the accuracy per language of every run, with intervals and chance level."""
    scored = [
        (colour, run.name, run.scores["retrieval"])
        for colour, run in enumerate(runs)
        if run.scores and run.scores.get("retrieval")
    ]
    if not scored:
        return ""
    last = scored[-1][2]["languages"]
    names = sorted(
        {name for _, _, found in scored for name in found["languages"]},
        key=lambda name: (-last.get(name, {}).get("value", -1.0), name),
    )
    macros = [(colour, name, found["macro"]) for colour, name, found in scored]
    mean = [Dot(name, m["value"], m["low"], m["high"], colour) for colour, name, m in macros]
    rows, table = [DotRow(f"mean of {len(names)} languages", mean, macros[-1][2]["chance"])], []
    for language in names:
        dots, cells, mark = [], [_language(language)], None
        for colour, name, found in scored:
            score = found["languages"].get(language)
            if score is None:
                cells.append("")
                continue
            mark = score["chance"]
            dots.append(Dot(name, score["value"], score["low"], score["high"], colour))
            cells.append(interval_text(score))
        known = next(f["languages"][language] for _, _, f in scored if language in f["languages"])
        rows.append(DotRow(_language(language), dots, mark))
        table.append([*cells, f"{known['chance']:.1f}", str(known["num_messages"])])
    chart = dot_chart(rows, x_label="accuracy, %", mark_label="chance")
    header = ["language", *(name for _, name, _ in scored), "chance", "messages"]
    note = (
        "For each held-out message, is its translation the nearest of all translations by the "
        "cosine of mean-pooled encoder states? Mean of both directions; bars are 95% intervals "
        f"over {scored[-1][2]['num_messages']} messages."
    )
    return _section(
        "Finding the translation among all held-out messages",
        f"<p>{note}</p>{_figure('', chart)}{_details('As a table', _table(header, table))}",
    )


def sampling_section(runs: Sequence[RunRecord]) -> str:
    """Returns what was drawn per task beside what the mixture asks for.

    Raises:
      DataError: a run drew from a task that its mixture does not have.
    """
    parts = []
    for colour, run in enumerate(runs):
        mixture = run.mixture
        if mixture is None or not run.sampled:
            continue
        known = {task.name for group in mixture.groups for task in group.tasks}
        if strange := sorted(run.sampled.keys() - known):
            raise DataError(
                f"report: run '{run.name}' drew from task '{strange[0]}', which mixture "
                f"'{mixture.name}' does not have; give the mixture.json that it was trained with"
            )
        for group in mixture.groups:
            parts.append(_sampled_group(run, group, colour))
        parts.append(_group_shares(run, mixture))
    return _section("What was sampled, and what was asked for", "".join(parts))


def _sampled_group(run: RunRecord, group: GroupSpec, colour: int) -> str:
    total_rate = sum(task.rate for task in group.tasks)
    drawn = {task.name: run.sampled.get(task.name, {}).get("examples", 0) for task in group.tasks}
    total = sum(drawn.values())
    if not total:
        return ""
    rows, table = [], []
    for task in sorted(group.tasks, key=lambda task: -task.rate):
        asked, found = 100 * task.rate / total_rate, 100 * drawn[task.name] / total
        label = " → ".join(task.languages)
        rows.append(DotRow(label, [Dot(run.name, found, colour=colour)], asked))
        tokens = run.sampled.get(task.name, {})
        table.append(
            [
                f"{label} ({task.name})",
                f"{asked:.3f}",
                f"{found:.3f}",
                f"{drawn[task.name]:,.0f}",
                f"{tokens.get('encoder_tokens', 0):,.0f}",
                f"{tokens.get('target_tokens', 0):,.0f}",
            ]
        )
    chart = dot_chart(
        rows, x_label="share of examples, % (log scale)", mark_label="asked", logarithmic=True
    )
    header = ["task", "asked %", "drawn %", "examples", "encoder tokens", "target tokens"]
    title = f"{run.name}: {_nice(group.objective)}, {len(rows)} tasks"
    return _details(title, chart + _table(header, table))


def _group_shares(run: RunRecord, mixture: Mixture) -> str:
    tokens = {
        group.objective: sum(
            run.sampled.get(task.name, {}).get("encoder_tokens", 0) for task in group.tasks
        )
        for group in mixture.groups
    }
    total = sum(tokens.values())
    if not total:
        return ""
    rows = [
        [
            _nice(group.objective),
            f"{100 * group.share:.2f}",
            f"{100 * tokens[group.objective] / total:.2f}",
            f"{tokens[group.objective]:,.0f}",
        ]
        for group in mixture.groups
    ]
    header = ["objective", "asked % of encoder tokens", "drawn %", "encoder tokens"]
    return _figure(f"{run.name}: shares of objectives", _table(header, rows))


def translation_rows(run: RunRecord) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of a run's translation scores; no rows if it has none."""
    found = (run.scores or {}).get("translation") or {}
    metrics = sorted({metric for row in found.values() for metric in row["scores"]})
    shares = sorted({share for row in found.values() for share in row["shares"]})
    header = ["direction", *metrics, *(f"{share} %" for share in shares), "messages"]
    rows = [
        [
            f"{row['source']} → {row['target']}",
            *(interval_text(row["scores"][metric]) for metric in metrics),
            *(f"{100 * row['shares'][share]:.1f}" for share in shares),
            str(row["num_sentences"]),
        ]
        for row in found.values()
    ]
    return header, rows


def translation_section(runs: Sequence[RunRecord]) -> str:
    """Returns translation scores and samples of the runs that have some."""
    parts = []
    for run in runs:
        header, rows = translation_rows(run)
        if not rows:
            continue
        found = run.scores["translation"]
        signatures = sorted(
            {score["signature"] for row in found.values() for score in row["scores"].values()}
        )
        listed = "".join(f"<li><code>{html.escape(s)}</code></li>" for s in signatures)
        parts.append(_figure(run.name, _table(header, rows)))
        parts.append(_details("Signatures of the scores", f"<ul>{listed}</ul>"))
        parts.append(_samples(run.scores.get("samples") or []))
    return _section("Translation of held-out messages", "".join(parts))


def _samples(samples: Sequence[Mapping[str, str]]) -> str:
    if not samples:
        return ""
    rows = []
    for sample in samples:
        cells = [
            f"<td>{html.escape(sample['source_language'])} → "
            f"{html.escape(sample['target_language'])}</td>"
        ]
        for part, language in (
            ("source", "source_language"),
            ("output", "target_language"),
            ("reference", "target_language"),
        ):
            # dir=auto takes the direction from the text itself: an output may be in any script.
            code = html.escape(sample[language], quote=True)
            text = html.escape(sample[part]) or "<em>nothing</em>"
            cells.append(f'<td class="text" dir="auto" lang="{code}">{text}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", "source", "output", "reference"))
    table = f'<div class="wide"><table class="samples"><tr>{head}</tr>{"".join(rows)}</table></div>'
    return _details("Some translations, chosen blindly among longer messages", table, is_open=True)


def settings_section(runs: Sequence[RunRecord]) -> str:
    """Returns time, tokens, where a run began, and its settings."""
    rows = []
    for run in runs:
        totals = {
            field: sum(row.get(field, 0) for row in run.sampled.values())
            for field in ("examples", "encoder_tokens", "target_tokens")
        }
        seconds = run.seconds_of_steps
        step = ((run.scores or {}).get("signature") or {}).get("step", "-")
        speed = run.last("speed/real_tokens_per_second")
        first = run.starts[0] if run.starts else {}
        rows.append(
            [
                run.name,
                f"{first['parameters']:,}" if "parameters" in first else "-",
                str(first.get("devices", "-")),
                f"{run.num_steps:,}",
                str(step),
                f"{seconds / 60:.1f}" if seconds else "-",
                *(f"{value:,.0f}" if value else "-" for value in totals.values()),
                f"{speed:,.0f}" if speed else "-",
                f"{run.num_truncated:,}",
                str(len(run.starts) or "-"),
            ]
        )
    header = [
        "run",
        "parameters",
        "devices",
        "steps",
        "scored at step",
        "minutes in steps",
        "examples",
        "encoder tokens",
        "target tokens",
        "real tokens/s",
        "examples cut",
        "starts",
    ]
    parts = [_table(header, rows)]
    for run in runs:
        text = run.settings
        if run.starts:
            text += "\n" + "\n".join(json.dumps(s, ensure_ascii=False) for s in run.starts)
        if run.scores:
            signature = run.scores.get("signature")
            text += "\n\nscores: " + json.dumps(signature, ensure_ascii=False, indent=1)
        if text.strip():
            body = f"<pre>{html.escape(text.strip())}</pre>"
            parts.append(_details(f"{run.name}: settings, starts, signature of scores", body))
    return _section("Runs", "".join(parts))


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose cells are plain text."""
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _figure(title: str, body: str) -> str:
    if not body:
        return ""
    caption = f"<figcaption>{html.escape(title)}</figcaption>" if title else ""
    return f"<figure>{caption}{body}</figure>"


def _details(title: str, body: str, *, is_open: bool = False) -> str:
    state = " open" if is_open else ""
    return f"<details{state}><summary>{html.escape(title)}</summary>{body}</details>"


def _language(code: str) -> str:
    return f"{ENGLISH_NAMES[code]} ({code})" if code in ENGLISH_NAMES else code


def _nice(name: str) -> str:
    return name.replace("_", " ")


def _p_value(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
