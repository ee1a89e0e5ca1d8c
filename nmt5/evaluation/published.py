"""The nmT5 paper's scores, and the arithmetic of its tables.

    published_results.tsv   task, model, language ("avg" for the mean over languages), metric, score

Avg over tasks is the mean of four task scores, TyDi QA counting as (F1 + EM) / 2. The transfer gap
is English minus the mean of the other languages.

The printed averages are the means of the printed languages to 0.06, but for WikiAnn's 40: there
they are 4.3 to 4.7 above them, for all six models alike. Beside one's own mean over languages
`language_average` of the published languages is the fair number, not the printed "avg".

Source: https://arxiv.org/abs/2106.02171, all tables.
"""

from collections.abc import Mapping
import dataclasses
import importlib.resources
import statistics

from nmt5.core.errors import ConfigError, DataError, unknown_name

AVERAGE = "avg"
ENGLISH = "en"

# The tasks of the main comparison, and the metrics whose mean is the task's score.
MAIN_TASKS: Mapping[str, tuple[str, ...]] = {
    "tydiqa_goldp": ("f1", "em"),
    "mtop": ("em",),
    "wikiann_ner": ("f1",),
    "wikilingua": ("rouge_l",),
}
# What the benchmarks here call the published metrics: the score that is comparable with them.
SCORE_NAMES: Mapping[tuple[str, str], str] = {
    ("mtop", "em"): "exact_match",
    ("wikiann_ner", "f1"): "span_f1_mt5",
    ("wikiann_ner_unseen", "f1"): "span_f1_mt5",
}

_FILE = "published_results.tsv"
_COLUMNS = ["task", "model", "language", "metric", "score"]


@dataclasses.dataclass(frozen=True, order=True)
class Result:
    """One score; `score` is in 0 .. 100."""

    task: str
    model: str
    language: str
    metric: str
    score: float


def published_results() -> tuple[Result, ...]:
    """Returns all scores of the paper.

    Raises:
      DataError: the project's data file is damaged.
    """
    text = (importlib.resources.files("nmt5.evaluation") / _FILE).read_text(encoding="utf-8")
    return parse_results(text, name=_FILE)


def parse_results(text: str, *, name: str) -> tuple[Result, ...]:
    """Returns the results of a table in the form of the data file.

    Args:
      text: tab-separated lines under a header.
      name: of the file, for messages.

    Raises:
      DataError: another header, a line with other columns, a score out of range, a result twice.
    """
    header, *lines = text.rstrip("\n").split("\n")
    if header.split("\t") != _COLUMNS:
        raise DataError(f"{name}: line 1: columns {header.split()}, expected {_COLUMNS}")
    found: dict[tuple[str, ...], Result] = {}
    for number, line in enumerate(lines, start=2):
        *key, value = line.split("\t")
        try:
            score = float(value)
        except ValueError:
            score = float("nan")
        if len(key) != len(_COLUMNS) - 1 or not 0 <= score <= 100:
            raise DataError(f"{name}: line {number}: {line!r}, expected {_COLUMNS}, score 0 to 100")
        if tuple(key) in found:
            raise DataError(f"{name}: line {number}: {key} occurs twice; remove one")
        found[tuple(key)] = Result(*key, score)
    return tuple(found.values())


def published_score(task: str, *, model: str, language: str = AVERAGE, metric: str) -> float:
    """Returns one score of the paper.

    >>> published_score("mtop", model="+MLM+NMT", metric="em")
    57.7

    Raises:
      ConfigError: the paper has no such score; the message has the nearest names.
    """
    results = published_results()
    wanted = {"task": task, "model": model, "language": language, "metric": metric}
    for field, value in wanted.items():
        known = [getattr(result, field) for result in results]
        if value not in known:
            raise ConfigError(f"published results: {unknown_name(field, value, known)}")
        results = tuple(result for result in results if getattr(result, field) == value)
    return results[0].score


def task_score(scores: Mapping[str, float], *, task: str) -> float:
    """Returns the one number that a task counts with: the mean of its metrics.

    >>> task_score({"f1": 75.1, "em": 60.1}, task="tydiqa_goldp")
    67.6

    Args:
      scores: score by published metric name.
      task: one of `MAIN_TASKS`.

    Raises:
      ConfigError: another task.
      DataError: a metric of the task is missing.
    """
    if task not in MAIN_TASKS:
        raise ConfigError(f"comparison: {unknown_name('task', task, MAIN_TASKS)}")
    missing = [metric for metric in MAIN_TASKS[task] if metric not in scores]
    if missing:
        raise DataError(f"comparison: task '{task}' has no {missing}, found {sorted(scores)}")
    return round(statistics.fmean(scores[metric] for metric in MAIN_TASKS[task]), 10)


def average_score(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Returns the tables' Avg: the mean of the four task scores.

    Args:
      scores: `{task: {metric: score}}`, all of `MAIN_TASKS`; other tasks do not count.

    Raises:
      DataError: a task or metric is missing.
    """
    missing = [task for task in MAIN_TASKS if task not in scores]
    if missing:
        raise DataError(f"comparison: no scores of {missing}; Avg is over {list(MAIN_TASKS)}")
    return statistics.fmean(task_score(scores[task], task=task) for task in MAIN_TASKS)


def language_average(scores: Mapping[str, float]) -> float:
    """Returns the mean over languages; an entry "avg" does not count.

    Raises:
      DataError: no language.
    """
    values = [score for language, score in scores.items() if language != AVERAGE]
    if not values:
        raise DataError("comparison: no language to average over")
    return statistics.fmean(values)


def transfer_gap(scores: Mapping[str, float]) -> float:
    """Returns English minus the mean of the other languages: smaller is better transfer.

    >>> transfer_gap({"en": 80.0, "ar": 60.0, "fi": 70.0, "avg": 70.0})
    15.0

    Raises:
      DataError: English or every other language is missing.
    """
    if ENGLISH not in scores:
        raise DataError(f"comparison: no English score, found {sorted(scores)}; the gap needs it")
    others = {language: score for language, score in scores.items() if language != ENGLISH}
    return scores[ENGLISH] - language_average(others)


def published_baselines(model: str) -> tuple[str, ...]:
    """Returns a model's baselines in the paper: the public checkpoint, and MLM of equal length.

    >>> [published_baselines(model) for model in ("+MLM+NMT", "nmT5-XL", "mT5-XL")]
    [('mT5-Large', '+MLM'), ('mT5-XL',), ()]
    """
    if model.startswith("nmT5-"):
        return (model.removeprefix("n"),)
    if not model.startswith("+MLM"):
        return ()
    return ("mT5-Large",) if model == "+MLM" else ("mT5-Large", "+MLM")
