"""The protocol's results as the paper's tables, in Markdown.

Comparison (the paper's Tables 2 to 6): a row per model, a column per task, Avg over the four tasks
of the paper where all are there, and the published scores below; then every model's difference to
each baseline, task by task, the published ones below likewise. Then for each task the same per
language (Tables 7 to 11) with the transfer gap, whether the differences are more than chance, and
means by language family and by amount of parallel text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import statistics

from nmt5.evaluation.bootstrap import Difference
from nmt5.evaluation.language_groups import family, plain_code, resource_level
from nmt5.evaluation.protocol import ProtocolRow, ProtocolTask
from nmt5.evaluation.protocol_significance import comparisons
from nmt5.evaluation.published import (
    AVERAGE,
    ENGLISH,
    MAIN_TASKS,
    SCORE_NAMES,
    average_score,
    language_average,
    published_baselines,
    published_results,
)

# Settings whose scores the paper has, by its name for them.
_PUBLISHED = {
    ("tydiqa_goldp", "zeroshot"): "tydiqa_goldp",
    ("tydiqa_goldp", "few_shot"): "tydiqa_goldp_fewshot_100",
    ("tydiqa_goldp", "large_data"): "tydiqa_goldp_squad_80k",
    ("mtop", "zeroshot"): "mtop",
    ("wikiann_ner", "zeroshot"): "wikiann_ner",
    ("wikiann_ner_unseen", "zeroshot"): "wikiann_ner_unseen",
    ("wikilingua", "multilingual"): "wikilingua",
}
# Tables show these scores of a task; of any other its main one.
_SHOWN = {"tydiqa_goldp": ("f1", "em"), "wikiann_ner": ("span_f1", "span_f1_mt5")}

_GAP = "transfer gap"
_METRICS = {value: key[1] for key, value in SCORE_NAMES.items()}

Scores = dict[tuple[str, str, str, str], float]
# A line of a table: number by column; None where there is none.
Line = dict[str, float | None]
# By (model, baseline, task) the paired difference in each language and on average.
Significance = Mapping[tuple[str, str, str], Mapping[str, Difference]]


def protocol_tables(
    rows: Sequence[ProtocolRow],
    *,
    models: Sequence[str],
    tasks: Sequence[ProtocolTask],
    baselines: Sequence[str] = (),
    significance: Significance | None = None,
) -> str:
    """Returns all tables as one Markdown text.

    Args:
      rows: of `protocol.results`.
      models: in the order of the rows.
      tasks: in the order of the columns.
      baselines: models that the others are compared with: the public checkpoint, and MLM-only
        continuation of equal length.
      significance: of `protocol_significance.paired_differences`.
    """
    scores: Scores = {(row.model, row.task, row.language, row.score): row.median for row in rows}
    notes = {row.task: row.note for row in rows}
    seeds = sorted({row.seeds for row in rows})
    parts = [
        "# Protocol\n",
        f"Medians over {', '.join(map(str, seeds))} seed(s); over languages the median of each "
        "seed's mean. Scores are 0 to 100.\n",
        _comparison(scores, rows, models, tasks, baselines),
    ]
    for task in tasks:
        parts.append(f"\n## {task.name}\n\n{notes[task.name]}\n")
        for name in _shown(task, rows):
            parts.append(_per_language(scores, task, name, models, baselines))
        main = _main(task, rows)
        columns = _languages(scores, task, main)
        if significance:
            parts.append(_chance(significance, task, main, [*columns, AVERAGE]))
        for title, group in (("family", family), ("parallel text (OPUS-100)", resource_level)):
            table = _by_group(scores, task, main, models, columns, group)
            if table:
                parts.append(f"\n{main} by {title}:\n\n{table}")
    return "\n".join(parts) + "\n"


def _comparison(scores, rows, models, tasks, baselines) -> str:
    label = "Avg" if set(MAIN_TASKS) <= set(map(_published_name, tasks)) else "mean"
    columns = {f"{task.name} {name}": (task, name) for task in tasks for name in _shown(task, rows)}

    def line(value: Callable[[ProtocolTask, str], float | None]) -> Line:
        cells: Line = {column: value(*place) for column, place in columns.items()}
        return cells | {label: _average(value, rows, tasks, label)}

    own = {
        model: line(lambda task, name, model=model: scores[model, task.name, AVERAGE, name])
        for model in models
    }
    of_paper = tuple(dict.fromkeys(one.model for one in published_results()))
    published = {
        model: line(lambda task, name, model=model: _published_mean(model, task, name))
        for model in of_paper
    }
    printed = {
        model: line(
            lambda task, name, model=model: _published_scores(model, task, name).get(AVERAGE)
        )
        for model in of_paper
    }
    header = [*columns, label]
    differences = _differences(own, comparisons(models, baselines=baselines))
    as_printed = _published_differences(printed)
    for name, found in _published_differences(published).items():
        differences[name] = {
            column: as_printed[name][column] if value is None else value
            for column, value in found.items()
        }
    text = "\n## Comparison\n\n" + _lines("model", header, own | _named(published))
    if label != "Avg":
        text += "\n\nThe paper's Avg is over TyDi QA, MTOP, WikiAnn NER and WikiLingua only."
    if _named(published):
        text += (
            "\n\nPublished rows: the paper's averages as printed; for WikiAnn the mean of its "
            "printed languages, also in Avg, since its printed averages lie 4.3 to 4.7 above it. "
            "Differences are of printed averages where the paper prints no languages."
        )
    if baselines:
        text += "\n\n### Differences\n\n" + _lines(
            "model − baseline", header, differences, sign="+"
        )
    return text


def _average(value, rows, tasks: Sequence[ProtocolTask], label: str) -> float | None:
    """Returns the paper's Avg where all its tasks are there, else the mean of those that are.

    Args:
      value: task and score name -> the mean over languages, None if there is none.
      rows: the results, which tell the main scores.
      tasks: all tasks.
      label: "Avg" or "mean".
    """
    if label == "Avg":
        found: dict[str, dict[str, float | None]] = {}
        for task in tasks:
            published = _published_name(task)
            # The first of a benchmark's variants counts: the paper's selection stands before
            # others.
            if published in MAIN_TASKS and published not in found:
                found[published] = {
                    metric: value(task, SCORE_NAMES.get((published, metric), metric))
                    for metric in MAIN_TASKS[published]
                }
        complete = all(one is not None for some in found.values() for one in some.values())
        return average_score(found) if complete else None
    counted = [[value(task, name) for name in _counted(task, rows)] for task in tasks]
    if any(one is None for some in counted for one in some):
        return None
    return statistics.fmean(map(statistics.fmean, counted))


def _counted(task: ProtocolTask, rows: Sequence[ProtocolRow]) -> tuple[str, ...]:
    """Returns the scores whose mean a task counts with: TyDi QA has two."""
    return ("f1", "em") if task.benchmark == "tydiqa_goldp" else (_main(task, rows),)


def _published_name(task: ProtocolTask) -> str:
    return _PUBLISHED.get((task.benchmark, task.setting), "")


def _published_scores(model: str, task: ProtocolTask, name: str) -> dict[str, float]:
    """Returns a published model's scores by language and "avg", where they compare with `name`."""
    published, metric = _published_name(task), _METRICS.get(name, name)
    if name == "span_f1":  # selected otherwise than the paper's, which is `span_f1_mt5`
        return {}
    return {
        one.language: one.score
        for one in published_results()
        if (one.model, one.task, one.metric) == (model, published, metric)
    }


def _published_mean(model: str, task: ProtocolTask, name: str) -> float | None:
    found = _published_scores(model, task, name)
    if _published_name(task).startswith("wikiann"):
        by_language = {one: value for one, value in found.items() if one != AVERAGE}
        return language_average(by_language) if by_language else None
    return found.get(AVERAGE)


def _per_language(
    scores: Scores,
    task: ProtocolTask,
    name: str,
    models: Sequence[str],
    baselines: Sequence[str],
) -> str:
    languages = _languages(scores, task, name)
    has_gap = ENGLISH in map(plain_code, languages) and len(languages) > 1
    own, published = {}, {}
    for model in models:
        found: Line = {one: scores[model, task.name, one, name] for one in languages}
        own[model] = found | {
            AVERAGE: scores[model, task.name, AVERAGE, name],
            _GAP: _gap(found) if has_gap else None,
        }
    for model in dict.fromkeys(one.model for one in published_results()):
        some = _published_scores(model, task, name)
        found = {one: some[one] for one in languages if one in some}
        if found:
            published[model] = found | {
                AVERAGE: language_average(found),
                _GAP: _gap(found) if has_gap and ENGLISH in found else None,
            }
    header = [*languages, AVERAGE, *([_GAP] if has_gap else [])]
    text = "\n" + _lines(name, header, own | _named(published))
    if baselines:
        differences = _differences(own, comparisons(models, baselines=baselines))
        differences |= _published_differences(published)
        text += "\n\n" + _lines(f"{name}, model − baseline", header, differences, sign="+")
    return text


def _chance(
    significance: Significance, task: ProtocolTask, name: str, columns: Sequence[str]
) -> str:
    lines = []
    for (model, baseline, of_task), found in significance.items():
        if of_task == task.name:
            cells = [f"{found[one].value:+.1f} ({found[one].p_value:.3f})" for one in columns]
            lines.append([f"{model} − {baseline}", *cells])
    return (
        f"\n{name}, all seeds' outputs together, and in brackets p of a paired bootstrap over the "
        "test examples:\n\n" + _table(["model − baseline", *columns], lines)
    )


def _differences(
    lines: Mapping[str, Line], baselines: Mapping[str, Sequence[str]], *, note: str = ""
) -> dict[str, Line]:
    """Returns each line less those of its baselines, column by column where both have a number."""
    found = {}
    for model, line in lines.items():
        for baseline in baselines[model]:
            if baseline in lines:
                other = lines[baseline]
                pairs = {column: (value, other.get(column)) for column, value in line.items()}
                found[f"{model} − {baseline}{note}"] = {
                    column: None if a is None or b is None else a - b
                    for column, (a, b) in pairs.items()
                }
    return found


def _published_differences(lines: Mapping[str, Line]) -> dict[str, Line]:
    baselines = {model: published_baselines(model) for model in lines}
    return _differences(lines, baselines, note=" (published)")


def _named(published: Mapping[str, Line]) -> dict[str, Line]:
    return {
        f"{model} (published)": line
        for model, line in published.items()
        if any(value is not None for value in line.values())
    }


def _lines(corner: str, header: Sequence[str], lines: Mapping[str, Line], *, sign: str = "") -> str:
    """Returns a table of lines; those without any number are left out."""
    cells = {
        name: ["" if line.get(one) is None else f"{line[one]:{sign}.1f}" for one in header]
        for name, line in lines.items()
    }
    return _table([corner, *header], [[name, *some] for name, some in cells.items() if any(some)])


def _by_group(
    scores: Scores,
    task: ProtocolTask,
    name: str,
    models: Sequence[str],
    languages: Sequence[str],
    group: Callable[[str], str],
) -> str:
    members: dict[str, list[str]] = {}
    for language in languages:
        members.setdefault(group(language), []).append(language)
    if len(members) < 2:
        return ""
    header = ["", *(f"{one} ({len(some)})" for one, some in members.items())]
    lines = [
        [
            model,
            *(
                _number(statistics.fmean(scores[model, task.name, one, name] for one in some))
                for some in members.values()
            ),
        ]
        for model in models
    ]
    return _table(header, lines)


def _gap(found: Mapping[str, float]) -> float:
    """Returns the mean of English less that of the others; its treebanks count as English."""
    english = [value for one, value in found.items() if plain_code(one) == ENGLISH]
    others = [value for one, value in found.items() if plain_code(one) != ENGLISH]
    return statistics.fmean(english) - statistics.fmean(others)


def _languages(scores: Scores, task: ProtocolTask, name: str) -> list[str]:
    found = (
        language
        for (_, what, language, which) in scores
        if what == task.name and which == name and language != AVERAGE
    )
    return list(dict.fromkeys(found))


def _shown(task: ProtocolTask, rows: Sequence[ProtocolRow]) -> tuple[str, ...]:
    return _SHOWN.get(task.benchmark, (_main(task, rows),))


def _main(task: ProtocolTask, rows: Sequence[ProtocolRow]) -> str:
    return next(row.score for row in rows if row.task == task.name and row.main)


def _number(value: float) -> str:
    return f"{value:.1f}"


def _table(header: Iterable[str], lines: Sequence[Sequence[str]]) -> str:
    header = list(header)
    padded = [[*line, *[""] * (len(header) - len(line))] for line in lines]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *padded])
