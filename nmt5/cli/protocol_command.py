"""`nmt5 protocol`: the papers' comparison of checkpoints over tasks, languages and seeds."""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
from typing import Any

from etils import epath

from nmt5.cli import settings
from nmt5.cli.finetune_command import SETTINGS, build_recipe, recipe_of
from nmt5.core.errors import ConfigError, UserError

DESCRIPTION = """\
Fine-tune every checkpoint on every task with every seed, choose each run's checkpoint on
validation, test it once, and write results.tsv and tables.md: medians per language, transfer gap,
language families, differences to the baselines, published scores beside. Typed again, it goes on
where it was; a killed one ends with the same tables.

settings:
  ProtocolConfig.directory
  ProtocolConfig.models       {'name': 'checkpoint of any format', ...}
  ProtocolConfig.baselines    names of models: the public checkpoint, MLM-only continuation
  ProtocolConfig.tasks        ('mtop', 'tydiqa_goldp.by-held_out_english', ...)
  ProtocolConfig.seeds, ProtocolConfig.devices, ProtocolConfig.device_variable
  TaskConfig.data, .directories, .tfds_data_dir         where the tasks' files are
  FinetuneConfig.*, OptimizerConfig.*, DecodingConfig.* as of `nmt5 finetune`
  TASK/FinetuneConfig.*       for one task only, by the name of its benchmark

example:
  nmt5 protocol --gin_file=gin/protocols/laptop.gin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--worker", default="", metavar="I/N", help="do every N-th run from I on, and no tables"
    )


def run(args: argparse.Namespace) -> None:
    """Does what is left, and prints the comparison."""
    settings.parse(args, "Workspace", "ProtocolConfig", *SETTINGS)
    with settings.scope(args):
        workspace = settings.build("Workspace")
        config = settings.build("ProtocolConfig")
        workspace.needs("vocabulary")
        from nmt5.evaluation.protocol import ProtocolTask, all_runs, results, write_results
        from nmt5.evaluation.protocol_significance import paired_differences
        from nmt5.evaluation.protocol_tables import protocol_tables

        tasks = tuple(ProtocolTask.parse(text) for text in config.tasks)
        recipes = {}
        for task in tasks:
            with settings.named_scope(task.benchmark):
                recipes[task] = build_recipe()
    runs = all_runs(tuple(config.models), tasks=tasks, seeds=config.seeds)
    if config.devices and not args.worker:
        _share_out(config)
    else:
        index, number = _worker(args.worker)
        _work(runs[index::number], config, recipes, workspace.vocabulary)
        if args.worker:
            return
    rows = results(runs, config.directory)
    directory = epath.Path(config.directory)
    write_results(rows, directory / "results.tsv")
    compared = {"models": tuple(config.models), "baselines": config.baselines}
    significance = {}
    for task in tasks:
        significance |= paired_differences(directory, task=task, seeds=config.seeds, **compared)
    tables = protocol_tables(rows, tasks=tasks, significance=significance, **compared)
    (directory / "tables.md").write_text(tables)
    print(tables.split("\n## ")[1])
    print(f"all tables: {directory / 'tables.md'}; numbers: {directory / 'results.tsv'}")


def _work(runs: Any, config: Any, recipes: dict[Any, dict[str, Any]], vocabulary: str) -> None:
    from nmt5.core.allocator import compute_in_main_thread
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.finetuning.runner import FinetuneRunner

    compute_in_main_thread()
    opened = Vocabulary.load(vocabulary)
    runner, at = None, None
    for one in runs:
        if one.task != at:
            built = recipes[one.task]
            recipe = recipe_of(built)
            if not recipe.compilation_cache:
                # Runs of a task have equal shapes: the first compiles for all.
                cache = os.path.join(config.directory, "compilation_cache")
                recipe = dataclasses.replace(recipe, compilation_cache=cache)
            runner = FinetuneRunner(
                checkpoints=config.models,
                recipe=recipe,
                task=built["TaskConfig"],
                decoding=built["DecodingConfig"],
                vocabulary=opened,
                say=lambda line: print(line, flush=True),
            )
            at = one.task
        runner.complete(one, one.directory(config.directory))


def _worker(text: str) -> tuple[int, int]:
    if not text:
        return 0, 1
    index, _, number = text.partition("/")
    if not (index.isdecimal() and number.isdecimal() and int(index) < int(number)):
        raise ConfigError(f"--worker={text}: expected I/N with I from 0 to N - 1, for example 0/4")
    return int(index), int(number)


def _share_out(config: Any) -> None:
    """Runs this command once per device, each for its share of the runs.

    Raises:
      UserError: a worker failed; the others have gone on to their end.
    """
    number = len(config.devices)
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "nmt5.cli.main", *sys.argv[1:], f"--worker={index}/{number}"],
            env={**os.environ, config.device_variable: device},
        )
        for index, device in enumerate(config.devices)
    ]

    def pass_on(number: int, frame: Any) -> None:
        for worker in workers:
            worker.send_signal(number)

    # A terminal's Ctrl-C reaches the workers by itself; SIGTERM reaches this process alone.
    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        codes = [worker.wait() for worker in workers]
    except KeyboardInterrupt:
        for worker in workers:
            worker.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    failed = [f"{index} ({config.devices[index]})" for index, code in enumerate(codes) if code]
    if failed:
        raise UserError(
            f"protocol: worker {', '.join(failed)} of {number} failed, see above; finished runs "
            "are kept, the same command goes on from there"
        )
