"""The feed: endless batches of packed rows, as fast with 2,000 tasks as with 10, exactly resumable.

Each group of tasks fills its own rows. Its examples have numbers (`examples`) and are packed in
windows of consecutive ones; each of L lanes (`lanes`) supplies rows / L rows of every batch. The
state of the whole feed is two integers per lane, and restoring it packs one window per lane again.

Lanes are dealt out to processes in order, so the rows of a batch are the same however many
processes there are. Texts repeat: a task that has been read to its end begins again in another
order with other noise.
"""

import atexit
from collections.abc import Mapping, Sequence
import copy
import dataclasses
from typing import Any
import weakref

import grain
import grain.experimental
import numpy as np

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.heldout import example_lengths, heldout_batches
from nmt5.data.lanes import Lane, Row, WindowStream, text_identity
from nmt5.data.layout import DataConfig, RowLayout, layout_table, plan_layout
from nmt5.data.mixture import Mixture, TaskSpec
from nmt5.data.objectives import find_objective
from nmt5.data.open_groups import open_groups
from nmt5.data.packing import build_rows

__all__ = [
    "DataConfig",
    "Feed",
    "FeedBatch",
    "RowLayout",
    "heldout_batches",
    "layout_table",
    "merge_states",
    "plan_layout",
]

STATE_FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedBatch:
    """What one process feeds into one step.

    Attributes:
      arrays: `{objective: {feature: int32 array (rows of this process, length)}}`.
      sampled: int64 array (tasks, 3): examples, encoder tokens and target tokens of each task of
        `Feed.tasks` in these rows.
      truncated: examples in these rows that were cut to fit.
    """

    arrays: dict[str, dict[str, np.ndarray]]
    sampled: np.ndarray
    truncated: int


class Feed:
    """An endless, restorable stream of batches.

    Iterators made by `iter(feed)` are Grain's: `get_state()` gives a dictionary of JSON values,
    `set_state(state)` goes on after the batch that was last taken when it was got.

    Args:
      mixture: the resolved mixture.
      config: store, lengths, seed.
      process_index: which process this is.
      process_count: how many share a batch; each gets its own rows.
      rows_multiple: number of data-parallel parts that a batch is split into.
      split: which split to read.

    Attributes:
      layout: `{objective: RowLayout}`.
      tasks: all tasks in the order of `FeedBatch.sampled`.

    Raises:
      DataError: a corpus is missing, empty, damaged or of other languages.
      VocabularyError: a corpus was made with another vocabulary.
      ConfigError: shapes that hold no text or cannot be shared by the processes.
    """

    def __init__(
        self,
        mixture: Mixture,
        config: DataConfig,
        *,
        process_index: int = 0,
        process_count: int = 1,
        rows_multiple: int = 1,
        split: str = "train",
    ):
        if not 0 <= process_index < process_count:
            raise ConfigError(f"feed: process {process_index} of {process_count}")
        self.layout = plan_layout(mixture, config, rows_multiple=rows_multiple)
        self.tasks: tuple[TaskSpec, ...] = tuple(
            task for group in mixture.groups for task in group.tasks
        )
        self._prefetch_batches = config.prefetch_batches
        streams, first_task = {}, 0
        for opened in open_groups(mixture, config, self.layout, split=split):
            group, row = opened.group, opened.row
            streams[group.objective] = WindowStream(
                opened.examples(seed=config.seed),
                row=row,
                first_task=first_task,
                packs=find_objective(group.objective).packs,
                identity={
                    "seed": config.seed,
                    "row_lengths": [row.inputs_length, row.targets_length],
                    "text": text_identity(
                        group, vocabulary=mixture.vocabulary.fingerprint, readers=opened.readers
                    ),
                },
            )
            first_task += len(group.tasks)
        self._batches = _Batches(
            streams,
            process_index=process_index,
            process_count=process_count,
            num_tasks=len(self.tasks),
        )
        self._batches.check_lanes({name: row.lanes for name, row in self.layout.items()})

    def __iter__(self) -> grain.DatasetIterator[FeedBatch]:
        batches: grain.IterDataset = self._batches
        if self._prefetch_batches:
            batches = grain.experimental.ThreadPrefetchIterDataset(
                batches, prefetch_buffer_size=self._prefetch_batches
            )
        iterator = iter(batches)
        # One that outlives the interpreter's modules would print a traceback at exit.
        atexit.register(_close, weakref.ref(iterator))
        return iterator

    def describe(self) -> str:
        """Returns the layout as lines of text for the log."""
        return layout_table(self.layout)


def _close(reference: weakref.ref) -> None:
    iterator = reference()
    if iterator is not None:
        iterator.close()
        # Its __del__ closes again, and Grain 0.2.18's close() needs modules that are gone by then.
        iterator.close = lambda: None


def merge_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Joins the states of all processes into one, which any number of processes can restore.

    Args:
      states: what `get_state()` returned in each process after the same step.

    Raises:
      DataError: states of different steps or streams.
    """
    merged = copy.deepcopy(dict(states[0]))
    for state in states[1:]:
        if state["step"] != merged["step"] or set(state["groups"]) != set(merged["groups"]):
            raise DataError(
                f"feed: states of steps {merged['step']} and {state['step']} cannot be joined; "
                "get the state in all processes after the same step"
            )
        for name, group in state["groups"].items():
            merged["groups"][name]["positions"].update(group["positions"])
    return merged


class _Batches(grain.IterDataset):
    """The batches of one process, made when asked for."""

    def __init__(
        self,
        streams: dict[str, WindowStream],
        *,
        process_index: int,
        process_count: int,
        num_tasks: int,
    ):
        super().__init__()
        self.streams = streams
        self.process_index = process_index
        self.process_count = process_count
        self.num_tasks = num_tasks

    def check_lanes(self, lanes: Mapping[str, int]) -> None:
        """Raises `ConfigError` unless so many lanes suit the rows and the processes."""
        for name, count in lanes.items():
            rows = self.streams[name].row.rows
            if rows % count or count % self.process_count:
                raise ConfigError(
                    f"feed: '{name}' has {rows} rows per batch in {count} lanes for "
                    f"{self.process_count} processes; the lanes must divide the rows and the "
                    "processes the lanes: change encoder_tokens_per_batch, rows_multiple or "
                    "DataConfig.lanes"
                )

    def own_lanes(self, lanes: int) -> range:
        """Returns the numbers of the lanes that this process serves."""
        each = lanes // self.process_count
        return range(self.process_index * each, (self.process_index + 1) * each)

    def __iter__(self) -> "_BatchIterator":
        return _BatchIterator(self)


class _BatchIterator(grain.DatasetIterator):
    """Takes rows from this process's lanes and lays them out."""

    def __init__(self, batches: _Batches):
        super().__init__()
        self._batches = batches
        self._step = 0
        self._lanes: dict[str, dict[int, Lane]] = {}
        self._lane_counts: dict[str, int] = {}
        for name, stream in batches.streams.items():
            self._place(name, stream.row.lanes, positions={})

    def _place(self, name: str, count: int, *, positions: Mapping[int, Sequence[int]]) -> None:
        stream = self._batches.streams[name]
        self._lane_counts[name] = count
        self._lanes[name] = {
            lane: Lane(stream, lane=lane, lanes=count, position=positions.get(lane, (0, 0)))
            for lane in self._batches.own_lanes(count)
        }

    def __next__(self) -> FeedBatch:
        arrays, truncated = {}, 0
        sampled = np.zeros((self._batches.num_tasks, 3), np.int64)
        for name, stream in self._batches.streams.items():
            lanes = self._lanes[name].values()
            rows: list[Row] = []
            for lane in lanes:
                rows += lane.take(stream.row.rows // self._lane_counts[name])
            drawn = [segment for row in rows for segment in row]
            examples = [example for _, example in drawn]
            tasks = np.array([task for task, _ in drawn]) + stream.first_task
            np.add.at(sampled[:, 0], tasks, 1)
            np.add.at(sampled[:, 1:], tasks, example_lengths(examples))
            truncated += sum(example.truncated for example in examples)
            arrays[name] = build_rows(
                [[(example.inputs, example.targets) for _, example in row] for row in rows],
                inputs_length=stream.row.inputs_length,
                targets_length=stream.row.targets_length,
            )
        self._step += 1
        return FeedBatch(arrays=arrays, sampled=sampled, truncated=truncated)

    def get_state(self) -> dict[str, Any]:
        """Returns the position after the last batch; this process's lanes only."""
        return {
            "format": STATE_FORMAT,
            "step": self._step,
            "groups": {
                name: {
                    **stream.identity,
                    "lanes": self._lane_counts[name],
                    "positions": {
                        str(number): lane.position for number, lane in self._lanes[name].items()
                    },
                }
                for name, stream in self._batches.streams.items()
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position; `state` has at least this process's lanes.

        Raises:
          ConfigError: the state is of other text, lengths or seed, or cannot be shared so.
        """
        streams = self._batches.streams
        faults = []
        if state.get("format") != STATE_FORMAT:
            faults.append(f"format {state.get('format')}, expected {STATE_FORMAT}")
        groups = state.get("groups", {})
        if set(groups) != set(streams):
            faults.append(f"objectives {sorted(groups)}, expected {sorted(streams)}")
        for name in set(groups) & set(streams):
            for field, expected in streams[name].identity.items():
                found = groups[name].get(field)
                if found != expected:
                    faults.append(f"'{name}' {field} {found}, expected {expected}")
        if faults:
            raise ConfigError(
                "feed: the saved position is of another stream: "
                + "; ".join(faults)
                + "; go on with the mixture, store, lengths and seed of the run, or start a new one"
            )
        self._batches.check_lanes({name: group["lanes"] for name, group in groups.items()})
        for name, group in groups.items():
            positions = {int(lane): at for lane, at in group["positions"].items()}
            missing = sorted(set(self._batches.own_lanes(group["lanes"])) - set(positions))
            if missing:
                raise ConfigError(
                    f"feed: the saved position of '{name}' has no lane {missing[0]}; join the "
                    "states of all processes with merge_states"
                )
            self._place(name, group["lanes"], positions=positions)
        self._step = state["step"]
