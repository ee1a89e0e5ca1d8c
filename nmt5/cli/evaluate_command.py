"""`nmt5 evaluate`: scores checkpoints on tasks, or on held-out text aligned across languages."""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import re
import sys
from typing import Any

from etils import epath

from nmt5.cli import settings
from nmt5.core.errors import ConfigError, unknown_name

DESCRIPTION = """\
Score checkpoints. On a task (a benchmark, a SeqIO task or mixture, own TSV or JSON lines): outputs
of the checkpoint scored in every language, with intervals and the share of faulty outputs. Without
a task, on held-out text that is aligned across languages: finding each message's translation among
all by mean encoder states (no training), and translation by BLEU and chrF. Scores go to the run's
directory with everything they depend on; scores that are there are not computed again.

settings:
  Workspace.vocabulary        the vocabulary of the checkpoints
  Evaluation.runs             {'name': 'run or checkpoint directory', ...}, of any format for a task
  DecodingConfig.method       'greedy', 'beam' or 'sample'
of a task:
  TaskConfig.name, .data, .files, .format, .columns, .pairs, .metrics, .labels, .language
  Evaluation.languages, .split, .max_examples, .output_dir, .predictions
  Evaluation.compare          (('first', 'second'), ...) runs whose difference is tested, paired
  MIXTURE_OR_TASK_NAME, CHECKPOINT_PATH, EVAL_OUTPUT_DIR   T5X's names for TaskConfig.name,
                              Evaluation.runs (a checkpoint, or a list of one run's) and .output_dir
  TaskConfig.name='tatoeba' or 'bucc': translations found by encoder states, EvalConfig.layer
of held-out text:
  Evaluation.text             'gettext' (extra `demo`), or a TSV file whose header names languages
  EvalConfig.split, EvalConfig.layer, EvalConfig.translate_languages, ...
  NAME/EvalConfig.<setting>   for one of the runs only

example:
  nmt5 evaluate --gin_file=gin/demo.gin
  nmt5 evaluate --gin.MIXTURE_OR_TASK_NAME=xsid_intent --gin.TaskConfig.data=data \\
    --gin.CHECKPOINT_PATH=runs/xsid_intent/training --gin.EVAL_OUTPUT_DIR=runs/scores \\
    --gin.Workspace.vocabulary=bytes
"""
GETTEXT = "gettext"
# Of `nmt5.evaluation.sentence_retrieval`, which is not imported for --help.
SENTENCE_TASKS = ("tatoeba", "bucc")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which checkpoints are scored on what.

    Attributes:
      runs: `{name: run directory, checkpoints directory or checkpoint}`.
      text: "gettext", or the path of an aligned table (`nmt5.evaluation.aligned_text`).
      output_dir: of a task's scores; with several runs each has a directory of its name there. ""
        takes the run's own directory.
      languages: of the task; () for all.
      split: of the task; "" for the one that is reported.
      max_examples: of each language; None for all.
      predictions: file of outputs by language, scored instead of a checkpoint's outputs.
      compare: pairs of names of runs.
      num_draws: bootstrap draws.
    """

    runs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    text: str = GETTEXT
    output_dir: str = ""
    languages: tuple[str, ...] = ()
    split: str = ""
    max_examples: int | None = None
    predictions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    compare: Sequence[tuple[str, str]] = ()
    num_draws: int = 1000

    def __post_init__(self):
        if isinstance(self.languages, str):
            object.__setattr__(self, "languages", (self.languages,))
        if not isinstance(self.runs, Mapping):
            raise ConfigError(
                f"Evaluation.runs is {self.runs!r}; give {{'name': 'run directory', ...}}"
            )
        for pair in self.compare:
            if len(pair) != 2:
                raise ConfigError(f"Evaluation.compare: {pair!r} is not a pair of names")
            for name in pair:
                if name not in self.runs:
                    raise ConfigError("Evaluation.compare: " + unknown_name("run", name, self.runs))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""


def run(args: argparse.Namespace) -> None:
    """Scores every run in turn."""
    names = ("Workspace", "Evaluation", "EvalConfig", "DecodingConfig", "TaskConfig")
    settings.parse(args, *names)
    with settings.scope(args):
        workspace = settings.build("Workspace")
        evaluation = settings.build("Evaluation")
        task = settings.build("TaskConfig")
        evaluation, task = _with_macros(evaluation, task)
    workspace.needs("vocabulary")
    if not evaluation.runs and not evaluation.predictions:
        raise ConfigError(
            "settings: Evaluation.runs must be set, {'name': 'run directory', ...}, or "
            "CHECKPOINT_PATH"
        )
    configs = {}
    for name in evaluation.runs or ("predictions",):
        with settings.named_scope(name):
            configs[name] = settings.build("EvalConfig"), settings.build("DecodingConfig")
    if task.name in SENTENCE_TASKS and not task.files:
        layers = {name: pair[0].layer for name, pair in configs.items()}
        _run_sentences(workspace, evaluation, task, layers)
    elif task.name or task.files:
        _run_task(workspace, evaluation, task, {name: pair[1] for name, pair in configs.items()})
    else:
        _run_held_out(workspace, evaluation, configs)


def _with_macros(evaluation: Evaluation, task: Any) -> tuple[Evaluation, Any]:
    """Returns the settings with T5X's names for them taken in."""
    if name := settings.macro("MIXTURE_OR_TASK_NAME"):
        task = dataclasses.replace(task, name=name)
    if checkpoint := settings.macro("CHECKPOINT_PATH"):
        several = not isinstance(checkpoint, str)
        runs = by_step(checkpoint) if several else {"checkpoint": checkpoint}
        evaluation = dataclasses.replace(evaluation, runs=runs)
    if directory := settings.macro("EVAL_OUTPUT_DIR"):
        evaluation = dataclasses.replace(evaluation, output_dir=directory)
    return evaluation, task


def by_step(checkpoints: Sequence[str]) -> dict[str, str]:
    """Returns a list in CHECKPOINT_PATH as runs, each named by its own directory.

    >>> by_step(["runs/a/checkpoint_20", "runs/a/checkpoint_9/"])
    {'checkpoint_20': 'runs/a/checkpoint_20', 'checkpoint_9': 'runs/a/checkpoint_9/'}

    Raises:
      ConfigError: a name without a step, or a step twice: T5X's files are told apart by the step.
    """
    found: dict[int, tuple[str, str]] = {}
    for path in checkpoints:
        name = epath.Path(path).name
        step = re.fullmatch(r"(?:checkpoint_|model\.ckpt-)?(\d+)", name)
        if step is None or int(step[1]) in found:
            why = "has no step in its name" if step is None else "has the step of another one"
            raise ConfigError(
                f"CHECKPOINT_PATH: '{path}' {why}; a list is of one run's checkpoints, such as "
                "runs/a/checkpoints/checkpoint_20; name others in Evaluation.runs"
            )
        found[int(step[1])] = name, path
    return dict(found.values())


def _inference_dir(evaluation: Evaluation) -> str | None:
    """Returns where the checkpoints of a list leave T5X's files together, as T5X does."""
    listed = not isinstance(settings.macro("CHECKPOINT_PATH") or "", str)
    return evaluation.output_dir if listed and evaluation.output_dir else None


def _run_task(workspace, evaluation: Evaluation, task: Any, decodings: Mapping[str, Any]) -> None:
    from nmt5.core.files import write_json
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.task_config import part_reader, resolve_task
    from nmt5.evaluation.task_runner import TaskEvaluation, compare_tasks, evaluate_task
    from nmt5.evaluation.task_scores import score_table

    wanted = TaskEvaluation(
        languages=tuple(evaluation.languages),
        split=evaluation.split,
        max_examples=evaluation.max_examples,
        num_draws=evaluation.num_draws,
    )
    benchmark = resolve_task(task, register=workspace.register)
    vocabulary = Vocabulary.load(workspace.vocabulary)
    outputs = {name: _output_dir(evaluation, name) for name in decodings}
    for name, decoding in decodings.items():
        result = evaluate_task(
            evaluation.runs.get(name, ""),
            benchmark=benchmark,
            task=task,
            wanted=wanted,
            vocabulary=vocabulary,
            output_dir=outputs[name],
            inference_dir=_inference_dir(evaluation),
            decoding=decoding,
            predictions=evaluation.predictions,
            say=lambda line: print(line, flush=True),
            progress=progress_line if sys.stderr.isatty() else None,
        )
        print(f"{name}, step {result['step']}: {benchmark.name}\n{score_table(result)}", flush=True)
        if benchmark.note:
            print(f"({benchmark.note})")
    for first, second in evaluation.compare:
        found = compare_tasks(
            outputs[first],
            second=outputs[second],
            benchmark=benchmark,
            read=part_reader(task, vocabulary=vocabulary),
            wanted=wanted,
            vocabulary=vocabulary,
        )
        path = outputs[second] / f"difference_from_{first}.json"
        write_json(path, found)
        _print_differences(
            f"{second} - {first}, {benchmark.main_score}, paired over examples:", found
        )


def _run_sentences(workspace, evaluation: Evaluation, task: Any, layers: Mapping[str, Any]) -> None:
    from nmt5.core.files import write_json
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.sentence_retrieval import compare_sentences, evaluate_sentences
    from nmt5.evaluation.task_runner import TaskEvaluation
    from nmt5.evaluation.task_scores import score_table

    if evaluation.predictions or evaluation.split:
        raise ConfigError(
            f"{task.name}: Evaluation.predictions and .split are for tasks with outputs of text"
        )
    wanted = TaskEvaluation(
        languages=tuple(evaluation.languages),
        max_examples=evaluation.max_examples,
        num_draws=evaluation.num_draws,
    )
    vocabulary = Vocabulary.load(workspace.vocabulary)
    outputs = {name: _output_dir(evaluation, name) for name in layers}
    for name, layer in layers.items():
        result = evaluate_sentences(
            evaluation.runs[name],
            name=task.name,
            task=task,
            wanted=wanted,
            vocabulary=vocabulary,
            output_dir=outputs[name],
            inference_dir=_inference_dir(evaluation),
            layer=layer,
            say=lambda line: print(line, flush=True),
            progress=progress_line if sys.stderr.isatty() else None,
        )
        print(f"{name}, step {result['step']}: {task.name}\n{score_table(result)}", flush=True)
    for first, second in evaluation.compare:
        found = compare_sentences(
            outputs[first], second=outputs[second], name=task.name, task=task, wanted=wanted
        )
        write_json(outputs[second] / f"difference_from_{first}.json", found)
        _print_differences(f"{second} - {first}, accuracy, paired over sentences:", found)


def _print_differences(title: str, found: Mapping[str, Mapping[str, float]]) -> None:
    print(title)
    for language, one in found.items():
        print(
            f"  {language:12} {one['value']:+7.2f}   {one['low']:+.2f} to {one['high']:+.2f}   "
            f"p = {one['p_value']:.3f}"
        )


def _output_dir(evaluation: Evaluation, name: str) -> epath.Path:
    if evaluation.output_dir:
        several = len(evaluation.runs) > 1
        return epath.Path(evaluation.output_dir) / (name if several else "")
    from nmt5.checkpoints.manager import is_native

    if not evaluation.runs or not is_native(evaluation.runs[name]):
        raise ConfigError(
            "settings: Evaluation.output_dir (or EVAL_OUTPUT_DIR) must be set: scores are not "
            "written beside a checkpoint that is no run of nmt5"
        )
    return epath.Path(evaluation.runs[name])


def _run_held_out(workspace, evaluation: Evaluation, configs: Mapping[str, Any]) -> None:
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.runner import evaluate

    vocabulary = Vocabulary.load(workspace.vocabulary)
    for name, directory in evaluation.runs.items():
        config, decoding = configs[name]
        scores = evaluate(
            directory,
            vocabulary=vocabulary,
            messages=held_out(evaluation.text, split=config.split),
            output_dir=epath.Path(directory),
            config=config,
            decoding=decoding,
            say=lambda line: print(line, flush=True),
            progress=progress_line if sys.stderr.isatty() else None,
        )
        macro = scores["retrieval"]["macro"]
        print(
            f"{name}: retrieval {macro['value']:.1f}% over {len(scores['retrieval']['languages'])} "
            f"languages (chance {macro['chance']:.1f}%)",
            flush=True,
        )


def held_out(text: str, *, split: str) -> dict[str, dict[str, str]]:
    """Returns `{English message: {language: translation}}` of a setting of `Evaluation.text`."""
    if text == GETTEXT:
        from nmt5.data.sources.gettext import aligned_messages

        return aligned_messages(split)
    from nmt5.evaluation.aligned_text import read_aligned

    return read_aligned(text)


def progress_line(what: str, done: int, total: int) -> None:
    """Shows on standard error how far something is, in one line that is written over."""
    end = "\n" if done >= total else ""
    print(f"\r{what}: {done}/{total}\x1b[K", end=end, file=sys.stderr, flush=True)
