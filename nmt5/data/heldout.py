"""Held-out batches: each task's validation text once, in order, with the same noise every time."""

from collections.abc import Iterator
import dataclasses
import logging

import numpy as np

from nmt5.core.errors import DataError
from nmt5.data.examples import ExampleMaker, NoiseAt, TaskReader, noise_key
from nmt5.data.layout import DataConfig, plan_layout
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec
from nmt5.data.objectives import Example, find_objective
from nmt5.data.open_groups import open_groups
from nmt5.data.packing import assign_rows, build_rows
from nmt5.data.store import CorpusInfo, read_corpus_info

_WINDOW_EXAMPLES = 256

_log = logging.getLogger(__name__)


def heldout_batches(
    mixture: Mixture,
    config: DataConfig,
    *,
    split: str = "validation",
    rows: int,
    max_batches_per_task: int | None = None,
) -> Iterator[tuple[TaskSpec, str, dict[str, np.ndarray]]]:
    """Yields the batches of each task, task by task.

    Noise depends on the task's name and the record only, not on `DataConfig.seed`, so losses of
    different runs are comparable. Tasks without the split are left out and named in the log.

    Args:
      mixture: the resolved mixture.
      config: store and row lengths.
      split: which split to read.
      rows: rows of every batch; the last one of a task is filled up with empty rows.
      max_batches_per_task: how many batches of a task at most; None reads all of it.

    Yields:
      (task, objective, `MODEL_FEATURES` as int32 arrays of shape (rows, length)).

    Raises:
      DataError: no task has the split, or a corpus cannot be read.
    """
    layout = plan_layout(mixture, config)
    infos: dict[str, CorpusInfo] = {}
    groups = [_with_split(group, config, split=split, infos=infos) for group in mixture.groups]
    left_out = sum(len(group.tasks) for group in mixture.groups) - sum(
        len(group.tasks) for group in groups
    )
    if not any(group.tasks for group in groups):
        raise DataError(
            f"mixture '{mixture.name}': no task has text in split '{split}'; prepare one, or "
            "switch held-out evaluation off"
        )
    if left_out:
        _log.warning("held-out: %d tasks of '%s' have no '%s'", left_out, mixture.name, split)
    for opened in open_groups(mixture, config, layout, split=split, groups=groups, infos=infos):
        group, row = opened.group, opened.row
        lengths = {"inputs_length": row.inputs_length, "targets_length": row.targets_length}
        packs = find_objective(group.objective).packs
        for reader in opened.readers:
            packed = _task_rows(reader, opened.make, packs=packs, **lengths)
            for number, batch in enumerate(_in_batches(packed, rows)):
                if number == max_batches_per_task:
                    break
                yield reader.task, group.objective, build_rows(batch, **lengths)


def _with_split(
    group: GroupSpec, config: DataConfig, *, split: str, infos: dict[str, CorpusInfo]
) -> GroupSpec:
    """Returns the group with only those tasks that have records in the split."""
    tasks = []
    for task in group.tasks:
        if task.corpus not in infos:
            infos[task.corpus] = read_corpus_info(config.store, task.corpus)
        found = infos[task.corpus].splits.get(split)
        if found is not None and found.num_records:
            tasks.append(task)
    return dataclasses.replace(group, tasks=tuple(tasks))


def _task_rows(
    reader: TaskReader, make: ExampleMaker, *, packs: bool, inputs_length: int, targets_length: int
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Yields the rows of one task in order, each a list of (inputs, targets)."""
    noise = NoiseAt(noise_key(0, "held-out " + reader.task.name))
    window = _WINDOW_EXAMPLES if packs else 1
    for start in range(0, len(reader.records), window):
        stop = min(start + window, len(reader.records))
        examples = [make(reader, record, rng=noise(record)) for record in range(start, stop)]
        for row in assign_rows(
            example_lengths(examples), inputs_length=inputs_length, targets_length=targets_length
        ):
            yield [(examples[i].inputs, examples[i].targets) for i in row]


def example_lengths(examples: list[Example]) -> np.ndarray:
    """Returns the input and target tokens of examples, an int array of shape (examples, 2)."""
    lengths = [(len(example.inputs), len(example.targets)) for example in examples]
    return np.array(lengths, np.int64).reshape(-1, 2)


def _in_batches(rows: Iterator[list], size: int) -> Iterator[list[list]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch + [[]] * (size - len(batch))
