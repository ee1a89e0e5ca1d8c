"""`nmt5 finetune`: trains on a task, chooses the checkpoint on validation, tests it once."""

import argparse
from collections.abc import Mapping
import dataclasses
from typing import Any

from etils import epath

from nmt5.cli import settings
from nmt5.core.errors import ConfigError

DESCRIPTION = """\
Fine-tune a checkpoint on a task, score the checkpoints along the way on validation, choose the
best, and test it once. Typed again, it goes on where it was.

settings:
  TaskConfig.name               a benchmark, a registered SeqIO task or mixture
  TaskConfig.data               directory with the benchmarks' original files
  TaskConfig.files              own TSV or JSON lines: {'train': 'a.tsv', 'test': 'b.jsonl', ...}
  TaskConfig.format             of these files: 'columns', 'inference', 'entities', 'conllu', ...
  TaskConfig.columns, TaskConfig.metrics, TaskConfig.labels, TaskConfig.language
  CheckpointConfig.initial_checkpoint   of any format; without it, model_config.size from scratch
  FinetuneConfig.run_dir, .setting, .selection, .seed, .train_steps, .eval_period_steps,
  FinetuneConfig.tokens_per_batch, .inputs_length, .dropout_rate, .max_examples, ...
  OptimizerConfig.*             nmT5's constant 0.001 unless set
  Workspace.vocabulary          the checkpoint's vocabulary
  DecodingConfig.method         'greedy', 'beam' or 'sample'

example:
  nmt5 finetune --gin_file=gin/finetune/xsid_intent.gin
"""
SETTINGS = (
    "FinetuneConfig",
    "TaskConfig",
    "OptimizerConfig",
    "LossConfig",
    "MeshConfig",
    "CheckpointConfig",
    "DecodingConfig",
    "TrainConfig",
    "model_config",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""


def run(args: argparse.Namespace) -> None:
    """Fine-tunes, and prints the scores."""
    settings.parse(args, "Workspace", *SETTINGS)
    with settings.scope(args):
        workspace = settings.build("Workspace")
        built = build_recipe()
    config = built["FinetuneConfig"] = _with_named_setting(
        built["FinetuneConfig"], built["TaskConfig"]
    )
    if not config.run_dir:
        raise ConfigError("settings: FinetuneConfig.run_dir must be set: where the run is written")
    workspace.needs("vocabulary")
    from nmt5.core.allocator import compute_in_main_thread
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.protocol import Run, read_chosen, scores_by_language
    from nmt5.evaluation.task_config import resolve_task
    from nmt5.finetuning.runner import FinetuneRunner, default_task

    compute_in_main_thread()
    task = built["TaskConfig"]
    benchmark = resolve_task(task, register=workspace.register)
    protocol_task = default_task(benchmark, config, language=task.language)
    protocol_task.plan(seed=config.seed)  # wrong settings show before anything is loaded
    runner = FinetuneRunner(
        checkpoints={"model": built["CheckpointConfig"].initial_checkpoint or ""},
        recipe=recipe_of(built),
        task=task,
        decoding=built["DecodingConfig"],
        vocabulary=Vocabulary.load(workspace.vocabulary),
        say=lambda line: print(line.removeprefix("model "), flush=True),
    )
    one = Run(model="model", task=protocol_task, seed=config.seed)
    directory = epath.Path(config.run_dir)
    runner.complete(one, directory)
    plan = protocol_task.plan(seed=config.seed)
    chosen = read_chosen(directory)
    print(summary(protocol_task.name, chosen, scores_by_language(one, directory)))
    if plan.selected_on_test:
        print("selected on test: there is no other split; these scores are not held out")
    if config.keep_checkpoints == "chosen":
        where = directory / "training" / "checkpoints" / chosen["candidate"]
        print(f"checkpoint: {where}")


def _with_named_setting(config: Any, task: Any) -> Any:
    """Returns the settings with what the name of a benchmark's mixture says, `xnli_zeroshot`."""
    from nmt5.evaluation.benchmarks.task_names import find_evaluated, find_mixture

    if find_evaluated(task.name) is not None:
        raise ConfigError(
            f"TaskConfig.name: '{task.name}' is for evaluation only; name the benchmark"
        )
    if (named := find_mixture(task.name)) is None:
        return config
    if config.setting not in ("", named.setting):
        raise ConfigError(
            f"FinetuneConfig.setting is '{config.setting}', but TaskConfig.name='{task.name}' says "
            f"'{named.setting}'; leave one of them out"
        )
    changes = {"setting": named.setting}
    if named.setting == "few_shot":
        changes["seed"] = named.seed
    if named.selection != "all_languages":
        changes["selection"] = named.selection
    return dataclasses.replace(config, **changes)


def build_recipe() -> dict[str, Any]:
    """Returns the settings by name; `OptimizerConfig` is nmT5's where nothing is set."""
    from nmt5.finetuning.trainer import NMT5_OPTIMIZER

    plainly = set(SETTINGS) - {"OptimizerConfig", "TrainConfig", "model_config"}
    built = {name: settings.build(name) for name in plainly}
    own = settings.bound("OptimizerConfig")
    defaults = {
        name: getattr(NMT5_OPTIMIZER, name)
        for name in ("schedule", "learning_rate", "warmup_steps")
        if name not in own
    }
    built["OptimizerConfig"] = settings.build("OptimizerConfig", **defaults)
    built["model"] = settings.build("model_config") if settings.bound("model_config") else None
    built["compilation_cache"] = settings.bound("TrainConfig").get("compilation_cache")
    return built


def recipe_of(built: Mapping[str, Any]) -> Any:
    """Returns the `Recipe` of `build_recipe`."""
    from nmt5.finetuning.trainer import Recipe

    return Recipe(
        finetune=built["FinetuneConfig"],
        optimizer=built["OptimizerConfig"],
        loss=built["LossConfig"],
        mesh=built["MeshConfig"],
        model=built["model"],
        compilation_cache=built["compilation_cache"],
    )


def summary(name: str, chosen: Mapping[str, Any], scores: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the learning curve and the test scores as lines of text."""
    lines = [f"{name}: score on validation by checkpoint"]
    for candidate, value in sorted(chosen["scores"].items(), key=lambda one: _step(one[0])):
        mark = "  <- chosen" if candidate == chosen["candidate"] else ""
        lines.append(f"  {candidate:24} {value:7.2f}{mark}")
    names = list(next(iter(scores.values())))
    lines.append(f"{'test':12} " + " ".join(f"{one:>12}" for one in names))
    for language, found in scores.items():
        lines.append(f"{language:12} " + " ".join(f"{found[one]:12.2f}" for one in names))
    if len(scores) > 1:
        means = [sum(found[one] for found in scores.values()) / len(scores) for one in names]
        lines.append(f"{'mean':12} " + " ".join(f"{value:12.2f}" for value in means))
    return "\n".join(lines)


def _step(candidate: str) -> int:
    """Returns the step in the name of a checkpoint."""
    return int(candidate.rpartition("_")[2])
