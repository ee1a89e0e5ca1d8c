"""The papers' protocol as resumable steps: fine-tune, choose on validation, test once, median.

A *run* is one model on one task with one seed. Its directory fills in this order, and each file is
complete or absent, so that a killed protocol goes on where it was:

    run.json                        what the run is; another protocol's directory is refused
    finetuned.json                  the candidates: names of checkpoints, in order of training
    selection/<candidate>.json      each candidate's score on the selection parts
    chosen.json                     the best; the earliest of equals
    test/<language>.jsonl           predictions of the chosen candidate, and of no other
    test/<language>.json            their scores

Training and prediction are callables, so the steps can be tested without a model, and any trainer
can stand behind them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import itertools
import statistics
from typing import Any, Protocol

from etils import epath

from nmt5.core.errors import ConfigError, DataError
from nmt5.core.files import read_json, write_json, write_text
from nmt5.evaluation.benchmarks.benchmark import Part
from nmt5.evaluation.benchmarks.regimes import Plan, plan
from nmt5.evaluation.benchmarks.scoring import prediction_line, score_predictions
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
from nmt5.evaluation.text_to_answer.text_example import TextExample

_REMEDY = "remove the file; the protocol makes it again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolTask:
    """A benchmark in a setting.

    Attributes:
      benchmark: its name.
      setting: one of `regimes.SETTINGS`.
      language: of the setting "in_language".
      selection: one of `regimes.SELECTIONS`.
    """

    benchmark: str
    setting: str = "zeroshot"
    language: str | None = None
    selection: str = "all_languages"

    @property
    def name(self) -> str:
        """Name of the task's directories and of its lines in tables."""
        words = [self.benchmark, self.setting, self.language, f"by-{self.selection}"]
        return ".".join(word for word in words if word)

    def plan(self, *, seed: int) -> Plan:
        """Returns the parts to train on, select on and report."""
        return plan(
            find_benchmark(self.benchmark),
            self.setting,
            language=self.language,
            selection=self.selection,
            seed=seed,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One model on one task with one seed."""

    model: str
    task: ProtocolTask
    seed: int

    def directory(self, root: epath.PathLike) -> epath.Path:
        """Returns where the run's files are."""
        return epath.Path(root) / self.model / self.task.name / f"seed{self.seed}"


class Trainer(Protocol):
    """Fine-tunes a run into a directory; called again after a kill, it must go on from there."""

    def __call__(self, run: Run, plan: Plan, directory: epath.Path) -> Sequence[str]:
        """Returns the candidates, in order of training; names that can be file names."""


class Predictor(Protocol):
    """Predicts one text per example with a candidate of a run."""

    def __call__(
        self, run: Run, candidate: str, examples: Sequence[TextExample], directory: epath.Path
    ) -> Sequence[str]:
        """Returns the predictions in the order of the examples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """One line of the results: the median over seeds.

    Attributes:
      model: name of the checkpoint.
      task: name of the task.
      language: code, or "avg": the median over seeds of each seed's mean over languages.
      score: name of the score.
      median: over the seeds.
      seeds: how many.
      note: how the checkpoint was chosen, when that matters to the reader.
    """

    model: str
    task: str
    language: str
    score: str
    median: float
    seeds: int
    note: str = ""


def all_runs(
    models: Sequence[str], *, tasks: Sequence[ProtocolTask], seeds: Sequence[int]
) -> tuple[Run, ...]:
    """Returns every run, all models on a task before the next task.

    Raises:
      ConfigError: a model, task or seed is named twice, or a model's name is not a directory name.
    """
    for kind, names in (
        ("model", models),
        ("task", [task.name for task in tasks]),
        ("seed", seeds),
    ):
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"protocol: every {kind} once and at least one, found {names}")
    if bad := [name for name in models if "/" in name or name in ("", ".", "..")]:
        raise ConfigError(f"protocol: model names {bad} cannot be directory names; choose others")
    return tuple(
        Run(model=model, task=task, seed=seed)
        for task, model, seed in itertools.product(tasks, models, seeds)
    )


def run_protocol(
    runs: Sequence[Run],
    root: epath.PathLike,
    *,
    finetune: Trainer,
    predict: Predictor,
    examples: Callable[[Part], Iterable[TextExample]],
    max_examples: int | None = None,
    worker: int = 0,
    num_workers: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Does what is left of some runs.

    Args:
      runs: from `all_runs`.
      root: directory of the whole protocol.
      finetune: the trainer.
      predict: the predictor.
      examples: gives the examples of a part.
      max_examples: evaluate on the first so many of each part, for a small version.
      worker: which of `num_workers` this process is; it does every num_workers-th run, so several
        devices share the work without talking to each other.
      num_workers: how many processes there are.
      report: receives a line per step.

    Raises:
      ConfigError: worker out of range, or a directory with another protocol's run.
      DataError: no candidate, a number of predictions that is not that of the examples, or a part
        without examples.
      StorageError: a file of an earlier pass is damaged.
    """
    if not 0 <= worker < num_workers:
        raise ConfigError(f"protocol: worker {worker} of {num_workers}, expected 0 to one less")
    for run in runs[worker::num_workers]:
        _one_run(run, root, finetune, predict, examples, max_examples, report)


def results(
    runs: Sequence[Run], root: epath.PathLike, *, score: Mapping[str, str] | None = None
) -> list[ProtocolRow]:
    """Returns medians over seeds, per language and for the mean over languages.

    Args:
      runs: from `all_runs`, all finished.
      root: directory of the protocol.
      score: by benchmark, the name of a score other than its main one.

    Raises:
      StorageError: a run is not finished.
      DataError: a score that the benchmark does not have.
    """
    rows = []
    by_task: dict[tuple[str, ProtocolTask], list[Run]] = {}
    for run in runs:
        by_task.setdefault((run.model, run.task), []).append(run)
    for (model, task), some in by_task.items():
        benchmark = find_benchmark(task.benchmark)
        name = (score or {}).get(task.benchmark, benchmark.main_score)
        values = [_test_scores(run, root, name) for run in some]
        means = [statistics.fmean(found.values()) for found in values]
        medians = {
            language: statistics.median(found[language] for found in values)
            for language in values[0]
        }
        note = f"selection={task.selection}"
        if some[0].task.plan(seed=some[0].seed).selected_on_test:
            note += ", selected on test"
        for language, median in {**medians, "avg": statistics.median(means)}.items():
            rows.append(
                ProtocolRow(
                    model=model,
                    task=task.name,
                    language=language,
                    score=name,
                    median=median,
                    seeds=len(some),
                    note=note,
                )
            )
    return rows


def write_results(rows: Sequence[ProtocolRow], path: epath.PathLike) -> None:
    """Writes `results.tsv`: a header and a line per row, scores with two decimals."""
    names = [field.name for field in dataclasses.fields(ProtocolRow)]
    lines = ["\t".join(names)]
    for row in rows:
        cells = dataclasses.asdict(row) | {"median": f"{row.median:.2f}"}
        lines.append("\t".join(str(cells[name]) for name in names))
    write_text(path, "\n".join(lines) + "\n")


def _one_run(run, root, finetune, predict, examples, max_examples, report) -> None:
    directory = run.directory(root)
    chosen_plan = run.task.plan(seed=run.seed)
    _claim(directory, _identity(run, max_examples))
    tests = {part: directory / "test" / f"{part.language}.json" for part in chosen_plan.test}
    if all(path.exists() for path in tests.values()):
        return

    def texts(part: Part) -> list[TextExample]:
        found = list(itertools.islice(examples(part), max_examples))
        if not found:
            raise DataError(
                f"protocol: {part.benchmark}, language '{part.language}', split '{part.split}': "
                "no examples; the split is empty"
            )
        return found

    candidates = _finetuned(run, chosen_plan, directory, finetune, report)
    chosen = _chosen(run, chosen_plan, directory, candidates, predict, texts, report)
    for part, path in tests.items():
        if not path.exists():
            report(f"{run.model} {run.task.name} seed {run.seed}: test {part.language}")
            _test(run, part, chosen, path, predict, texts, directory)


def _identity(run: Run, max_examples: int | None) -> dict[str, Any]:
    return {**dataclasses.asdict(run), "max_examples": max_examples}


def _claim(directory: epath.Path, identity: dict[str, Any]) -> None:
    path = directory / "run.json"
    if not path.exists():
        write_json(path, identity)
        return
    found = read_json(path, what="protocol run", remedy=_REMEDY)
    if found != identity:
        raise ConfigError(
            f"protocol: {directory} holds {found}, not {identity}; choose another directory"
        )


def _finetuned(run, chosen_plan, directory, finetune, report) -> list[str]:
    path = directory / "finetuned.json"
    if not path.exists():
        report(f"{run.model} {run.task.name} seed {run.seed}: fine-tuning")
        candidates = list(finetune(run, chosen_plan, directory))
        if not candidates:
            raise DataError(f"protocol: {directory}: fine-tuning left no checkpoint to choose from")
        write_json(path, candidates)
    return read_json(path, what="candidates", remedy=_REMEDY)


def _chosen(run, chosen_plan, directory, candidates, predict, texts, report) -> str:
    path = directory / "chosen.json"
    if not path.exists():
        scores = {}
        for candidate in candidates:
            candidate_path = directory / "selection" / f"{candidate}.json"
            if not candidate_path.exists():
                report(f"{run.model} {run.task.name} seed {run.seed}: selection {candidate}")
                values = {}
                for part in chosen_plan.selection:
                    some = texts(part)
                    predictions = predict(run, candidate, some, directory)
                    found = _scores(part, predictions, some, num_draws=0)
                    main = find_benchmark(part.benchmark).main_score
                    values[f"{part.benchmark}.{part.language}"] = found[main]["value"]
                write_json(candidate_path, values)
            values = read_json(candidate_path, what="selection scores", remedy=_REMEDY)
            scores[candidate] = statistics.fmean(values.values())
        # The first of equals: less training, and the same choice on every pass.
        best = max(candidates, key=lambda candidate: scores[candidate])
        write_json(path, {"candidate": best, "scores": scores})
    return read_json(path, what="chosen candidate", remedy=_REMEDY)["candidate"]


def _test(run, part, chosen, path, predict, texts, directory) -> None:
    some = texts(part)
    predictions = predict(run, chosen, some, directory)
    found = _scores(part, predictions, some, num_draws=1000)
    lines = [prediction_line(one, text) for one, text in zip(some, predictions, strict=True)]
    write_text(path.with_suffix(".jsonl"), "".join(lines))
    write_json(path, {"candidate": chosen, "scores": found})


def _scores(part, predictions, examples, *, num_draws) -> dict[str, dict[str, Any]]:
    found = score_predictions(
        find_benchmark(part.benchmark),
        predictions,
        examples=examples,
        language=part.language,
        split=part.split,
        num_draws=num_draws,
    )
    return {name: one.to_json() for name, one in found.items()}


def _test_scores(run: Run, root: epath.PathLike, score: str) -> dict[str, float]:
    found = {}
    for part in run.task.plan(seed=run.seed).test:
        path = run.directory(root) / "test" / f"{part.language}.json"
        scores = read_json(path, what="test scores", remedy="let the protocol finish")["scores"]
        if score not in scores:
            raise DataError(f"{path}: no score '{score}', found {sorted(scores)}")
        found[part.language] = scores[score]["value"]
    return found
