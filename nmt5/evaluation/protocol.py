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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    @classmethod
    def parse(cls, text: str) -> "ProtocolTask":
        """Returns the task of a name; what is left out has its default.

        >>> ProtocolTask.parse("uner.in_language.pt_bosque").language
        'pt_bosque'
        >>> ProtocolTask.parse("tydiqa_goldp.by-held_out_english").selection
        'held_out_english'

        Raises:
          ConfigError: an unknown benchmark, setting or selection, or too many words.
        """
        name, *words = text.split(".")
        chosen = {"benchmark": name}
        if words and words[-1].startswith("by-"):
            chosen["selection"] = words.pop().removeprefix("by-")
        chosen |= dict(zip(("setting", "language"), words, strict=False))
        if len(words) > 2:
            raise ConfigError(
                f"protocol: task '{text}', expected BENCHMARK[.SETTING[.LANGUAGE]][.by-SELECTION]"
            )
        task = cls(**chosen)
        task.plan(seed=0)
        return task

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
      lowest: the lowest of the seeds.
      highest: the highest of them.
      seeds: how many.
      main: whether the score stands for the task.
      note: how the checkpoint was chosen, when that matters to the reader.
    """

    model: str
    task: str
    language: str
    score: str
    median: float
    lowest: float
    highest: float
    seeds: int
    main: bool = True
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
    about: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
    finished: Callable[[Run, epath.Path, str], None] = lambda run, directory, chosen: None,
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
      about: JSON-able settings that the scores depend on; a directory of others is refused.
      report: receives a line per step.
      finished: called with run, directory and chosen candidate when all of a run's scores are
        written, also again after a restart; may remove what is no longer needed.

    Raises:
      ConfigError: worker out of range, or a directory with another protocol's run.
      DataError: no candidate, a number of predictions that is not that of the examples, or a part
        without examples.
      StorageError: a file of an earlier pass is damaged.
    """
    if not 0 <= worker < num_workers:
        raise ConfigError(f"protocol: worker {worker} of {num_workers}, expected 0 to one less")
    for run in runs[worker::num_workers]:
        directory = run.directory(root)
        chosen = complete_run(
            run,
            directory,
            finetune=finetune,
            predict=predict,
            examples=examples,
            max_examples=max_examples,
            about=about,
            report=report,
        )
        finished(run, directory, chosen)


def results(runs: Sequence[Run], root: epath.PathLike) -> list[ProtocolRow]:
    """Returns medians over seeds of every score, per language and for the mean over languages.

    Args:
      runs: from `all_runs`, all finished.
      root: directory of the protocol.

    Returns:
      The rows of a model and task together, its main score first.

    Raises:
      StorageError: a run is not finished.
    """
    rows = []
    by_task: dict[tuple[str, ProtocolTask], list[Run]] = {}
    for run in runs:
        by_task.setdefault((run.model, run.task), []).append(run)
    for (model, task), some in by_task.items():
        found = [scores_by_language(run, run.directory(root)) for run in some]
        note = f"selection={task.selection}"
        chosen_plan = some[0].task.plan(seed=some[0].seed)
        if chosen_plan.selected_on_test:
            note += ", selected on test"
        for part in chosen_plan.selection:
            if part.benchmark != task.benchmark:
                note += f", on {part.benchmark} {part.language} {part.split}"
        names = list(next(iter(found[0].values())))
        for position, name in enumerate(names):
            values = [{language: scores[name] for language, scores in one.items()} for one in found]
            columns = {language: [one[language] for one in values] for language in values[0]}
            columns["avg"] = [statistics.fmean(one.values()) for one in values]
            rows += [
                ProtocolRow(
                    model=model,
                    task=task.name,
                    language=language,
                    score=name,
                    median=statistics.median(column),
                    lowest=min(column),
                    highest=max(column),
                    seeds=len(some),
                    main=position == 0,
                    note=note,
                )
                for language, column in columns.items()
            ]
    return rows


def write_results(rows: Sequence[ProtocolRow], path: epath.PathLike) -> None:
    """Writes `results.tsv`: a header and a line per row, scores with two decimals."""
    names = [field.name for field in dataclasses.fields(ProtocolRow)]
    lines = ["\t".join(names)]
    for row in rows:
        cells = dataclasses.asdict(row)
        cells |= {name: f"{cells[name]:.2f}" for name in ("median", "lowest", "highest")}
        cells["main"] = "yes" if row.main else ""
        lines.append("\t".join(str(cells[name]) for name in names))
    write_text(path, "\n".join(lines) + "\n")


def complete_run(
    run: Run,
    directory: epath.PathLike,
    *,
    finetune: Trainer,
    predict: Predictor,
    examples: Callable[[Part], Iterable[TextExample]],
    max_examples: int | None = None,
    num_draws: int = 1000,
    pieces: Callable[[str], Sequence[str]] | None = None,
    about: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> str:
    """Does what is left of one run in its directory.

    Arguments and errors as `run_protocol`; further ones are:

    Args:
      num_draws: bootstrap draws of the test scores' intervals.
      pieces: text -> pieces of the vocabulary, for "spbleu".
      about: JSON-able settings that the scores depend on; a directory of others is refused.

    Returns:
      The chosen candidate.
    """
    directory = epath.Path(directory)
    chosen_plan = run.task.plan(seed=run.seed)
    _claim(directory, _identity(run, max_examples, about or {}))
    tests = {part: directory / "test" / f"{part.language}.json" for part in chosen_plan.test}
    if all(path.exists() for path in tests.values()):
        return read_chosen(directory)["candidate"]

    def texts(part: Part) -> list[TextExample]:
        found = list(itertools.islice(examples(part), max_examples))
        if not found:
            raise DataError(
                f"protocol: {part.benchmark}, language '{part.language}', split '{part.split}': "
                "no examples; the split is empty"
            )
        return found

    candidates = _finetuned(run, chosen_plan, directory, finetune, report)
    chosen = _chosen(run, chosen_plan, directory, candidates, predict, texts, report, pieces)
    for part, path in tests.items():
        if not path.exists():
            report(f"{run.model} {run.task.name} seed {run.seed}: test {part.language}")
            _test(run, part, chosen, path, predict, texts, directory, num_draws, pieces)
    return chosen


def read_chosen(directory: epath.PathLike) -> dict[str, Any]:
    """Returns `{"candidate": name, "scores": {candidate: selection score}}` of a run.

    Raises:
      StorageError: the run has not come so far.
    """
    return read_json(epath.Path(directory) / "chosen.json", what="chosen candidate", remedy=_REMEDY)


def _identity(run: Run, max_examples: int | None, about: Mapping[str, Any]) -> dict[str, Any]:
    return {**dataclasses.asdict(run), "max_examples": max_examples, "settings": dict(about)}


def _claim(directory: epath.Path, identity: dict[str, Any]) -> None:
    path = directory / "run.json"
    if not path.exists():
        write_json(path, identity)
        return
    found = read_json(path, what="protocol run", remedy=_REMEDY)
    if found != identity:
        differing = [
            f"{name} {old} (now: {new})" for name, old, new in _differences(found, identity)
        ]
        raise ConfigError(
            f"protocol: {directory} holds another run: {', '.join(differing)}; choose another "
            "directory, or remove this one"
        )


def _differences(
    found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*found, *wanted}):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new


def _finetuned(run, chosen_plan, directory, finetune, report) -> list[str]:
    path = directory / "finetuned.json"
    if not path.exists():
        report(f"{run.model} {run.task.name} seed {run.seed}: fine-tuning")
        candidates = list(finetune(run, chosen_plan, directory))
        if not candidates:
            raise DataError(f"protocol: {directory}: fine-tuning left no checkpoint to choose from")
        write_json(path, candidates)
    return read_json(path, what="candidates", remedy=_REMEDY)


def _chosen(run, chosen_plan, directory, candidates, predict, texts, report, pieces) -> str:
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
                    found = _scores(part, predictions, some, num_draws=0, pieces=pieces)
                    main = next(iter(found.values()))
                    values[f"{part.benchmark}.{part.language}"] = main["value"]
                write_json(candidate_path, values)
            values = read_json(candidate_path, what="selection scores", remedy=_REMEDY)
            scores[candidate] = statistics.fmean(values.values())
        # The first of equals: less training, and the same choice on every pass.
        best = max(candidates, key=lambda candidate: scores[candidate])
        write_json(path, {"candidate": best, "scores": scores})
    return read_chosen(directory)["candidate"]


def _test(run, part, chosen, path, predict, texts, directory, num_draws, pieces) -> None:
    some = texts(part)
    predictions = predict(run, chosen, some, directory)
    found = _scores(part, predictions, some, num_draws=num_draws, pieces=pieces)
    for score in found.values():
        # How the checkpoint came about is part of what a reader needs to get the number again.
        score["signature"] += f"|{run.task.name}|seed:{run.seed}|{chosen}"
    lines = [prediction_line(one, text) for one, text in zip(some, predictions, strict=True)]
    write_text(path.with_suffix(".jsonl"), "".join(lines))
    # The file's keys are sorted, so the order of the scores is told beside them.
    write_json(path, {"candidate": chosen, "order": list(found), "scores": found})


def _scores(part, predictions, examples, *, num_draws, pieces) -> dict[str, dict[str, Any]]:
    found = score_predictions(
        find_benchmark(part.benchmark),
        predictions,
        examples=examples,
        language=part.language,
        split=part.split,
        num_draws=num_draws,
        pieces=pieces,
    )
    return {name: one.to_json() for name, one in found.items()}


def scores_by_language(run: Run, directory: epath.PathLike) -> dict[str, dict[str, float]]:
    """Returns the scores of a finished run by language and name, the main score first.

    Raises:
      StorageError: the run is not finished.
    """
    found = {}
    for part in run.task.plan(seed=run.seed).test:
        path = epath.Path(directory) / "test" / f"{part.language}.json"
        read = read_json(path, what="test scores", remedy="let the protocol finish")
        found[part.language] = {name: read["scores"][name]["value"] for name in read["order"]}
    return found
