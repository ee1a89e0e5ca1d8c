"""The protocol's results as the paper's tables, in Markdown.

Comparison (the paper's Tables 2 to 6): a row per model, a column per task, Avg over the four tasks
of the paper where all are there, differences to the baselines, and the published scores below. Then
for each task the scores per language (Tables 7 to 11) with the transfer gap, and means by language
family and by amount of parallel text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import statistics

from nmt5.evaluation.language_groups import family, plain_code, resource_level
from nmt5.evaluation.protocol import ProtocolRow, ProtocolTask
from nmt5.evaluation.published import (
    AVERAGE,
    ENGLISH,
    MAIN_TASKS,
    SCORE_NAMES,
    average_score,
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

Scores = dict[tuple[str, str, str, str], float]


def protocol_tables(
    rows: Sequence[ProtocolRow],
    *,
    models: Sequence[str],
    tasks: Sequence[ProtocolTask],
    baselines: Sequence[str] = (),
) -> str:
    """Returns all tables as one Markdown text.

    Args:
      rows: of `protocol.results`.
      models: in the order of the rows.
      tasks: in the order of the columns.
      baselines: models that the others are compared with: the public checkpoint, and MLM-only
        continuation of equal length.
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
            parts.append(_per_language(scores, task, name, models))
        main = _main(task, rows)
        columns = _languages(scores, task, main)
        for title, group in (("family", family), ("parallel text (OPUS-100)", resource_level)):
            table = _by_group(scores, task, main, models, columns, group)
            if table:
                parts.append(f"\n{main} by {title}:\n\n{table}")
    return "\n".join(parts) + "\n"


def _comparison(scores, rows, models, tasks, baselines) -> str:
    shown = {task: _shown(task, rows) for task in tasks}
    header = ["model", *(f"{task.name} {name}" for task in tasks for name in shown[task])]
    averages = {model: _average(scores, rows, model, tasks) for model in models}
    label = next(iter(averages.values()))[0]
    header += [label, *(f"Δ {name}" for name in baselines)]
    lines = []
    for model in models:
        cells = [scores[model, task.name, AVERAGE, name] for task in tasks for name in shown[task]]
        mean = averages[model][1]
        differences = [
            "" if model == name else f"{mean - averages[name][1]:+.1f}" for name in baselines
        ]
        lines.append([model, *map(_number, cells), _number(mean), *differences])
    published = _published_rows(tasks, shown)
    text = "\n## Comparison\n\n" + _table(header, lines + published)
    if label != "Avg":
        text += "\n\nThe paper's Avg is over TyDi QA, MTOP, WikiAnn NER and WikiLingua only."
    if published:
        text += (
            "\n\nPublished rows: the paper's averages as printed; for WikiAnn the mean of its "
            "printed languages, since its printed averages lie 4.3 to 4.7 above them."
        )
    return text


def _average(scores, rows, model: str, tasks: Sequence[ProtocolTask]) -> tuple[str, float]:
    """Returns the paper's Avg where all its tasks are there, else the mean of those that are."""
    found: dict[str, dict[str, float]] = {}
    for task in tasks:
        published = _PUBLISHED.get((task.benchmark, task.setting), "")
        # The first of a benchmark's variants counts: the paper's selection stands before others.
        if published in MAIN_TASKS and published not in found:
            found[published] = {
                metric: scores[
                    model, task.name, AVERAGE, SCORE_NAMES.get((published, metric), metric)
                ]
                for metric in MAIN_TASKS[published]
            }
    if set(found) == set(MAIN_TASKS):
        return "Avg", average_score(found)
    means = [
        statistics.fmean(scores[model, task.name, AVERAGE, name] for name in _counted(task, rows))
        for task in tasks
    ]
    return "mean", statistics.fmean(means)


def _counted(task: ProtocolTask, rows: Sequence[ProtocolRow]) -> tuple[str, ...]:
    """Returns the scores whose mean a task counts with: TyDi QA has two."""
    return ("f1", "em") if task.benchmark == "tydiqa_goldp" else (_main(task, rows),)


def _published_rows(tasks, shown) -> list[list[str]]:
    results = published_results()
    found: dict[tuple[str, str, str, str], float] = {
        (one.model, one.task, one.language, one.metric): one.score for one in results
    }
    names = {value: key[1] for key, value in SCORE_NAMES.items()}
    rows = []
    for model in dict.fromkeys(one.model for one in results):
        cells: list[str] = []
        for task in tasks:
            published = _PUBLISHED.get((task.benchmark, task.setting), "")
            for name in shown[task]:
                metric = names.get(name, name)
                value = found.get((model, published, AVERAGE, metric))
                if published.startswith("wikiann"):
                    values = [
                        score
                        for (who, what, language, which), score in found.items()
                        if (who, what, which) == (model, published, metric) and language != AVERAGE
                    ]
                    value = statistics.fmean(values) if values else None
                comparable = name not in ("span_f1",)
                cells.append(_number(value) if value is not None and comparable else "")
        if any(cells):
            rows.append([f"{model} (published)", *cells])
    return rows


def _per_language(scores: Scores, task: ProtocolTask, name: str, models: Sequence[str]) -> str:
    languages = _languages(scores, task, name)
    header = [name, *languages, AVERAGE]
    has_gap = ENGLISH in map(plain_code, languages) and len(languages) > 1
    lines = []
    for model in models:
        found = {one: scores[model, task.name, one, name] for one in languages}
        cells = [model, *map(_number, found.values())]
        cells.append(_number(scores[model, task.name, AVERAGE, name]))
        lines.append(cells + ([_number(_gap(found))] if has_gap else []))
    published = _PUBLISHED.get((task.benchmark, task.setting), "")
    lines += _published_languages(published, name, languages, has_gap)
    return "\n" + _table(header + (["transfer gap"] if has_gap else []), lines)


def _published_languages(
    published: str, name: str, languages: Sequence[str], has_gap: bool
) -> list[list[str]]:
    names = {value: key[1] for key, value in SCORE_NAMES.items()}
    by_model: dict[str, dict[str, float]] = {}
    for one in published_results():
        if one.task == published and one.metric == names.get(name, name):
            by_model.setdefault(one.model, {})[one.language] = one.score
    lines = []
    for model, found in by_model.items():
        cells = [_number(found[one]) if one in found else "" for one in languages]
        if not any(cells):
            continue
        known = {one: found[one] for one in languages if one in found}
        mean = _number(statistics.fmean(known.values()))
        gap = [_number(_gap(known)) if ENGLISH in known else ""] if has_gap else []
        lines.append([f"{model} (published)", *cells, mean, *gap])
    return lines


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
