"""Looking inside a mixture: examples before and after the objective, packed rows, realised shares.

Reads what the training feed reads, a resolved mixture and its store, through the same code.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools

import numpy as np

from nmt5.core import features
from nmt5.core.errors import ConfigError
from nmt5.data.feed import Feed
from nmt5.data.layout import DataConfig, RowLayout, plan_layout
from nmt5.data.mixture import Mixture, TaskSpec
from nmt5.data.objectives import Example
from nmt5.data.open_groups import OpenedGroup, open_groups
from nmt5.data.store import CorpusInfo, read_corpus_info


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenExample:
    """One example and the text that it was made of.

    Attributes:
      objective: its group's objective.
      task: its task.
      segments: token ids of the text, one array per language of the task.
      example: what the objective made of them.
    """

    objective: str
    task: TaskSpec
    segments: tuple[np.ndarray, ...]
    example: Example


def first_examples(
    mixture: Mixture, config: DataConfig, *, number: int, split: str = "train"
) -> Iterator[SeenExample]:
    """Yields the first examples of the run, in turn one of each objective.

    Args:
      mixture: the resolved mixture.
      config: store, lengths and seed.
      number: how many, all objectives together.
      split: which split to read.

    Raises:
      DataError: as `nmt5.data.feed.Feed`.
      ConfigError: a number below 1.
    """
    _at_least_one("examples", number)
    layout = plan_layout(mixture, config)
    each = -(-number // len(mixture.groups))
    opened = open_groups(mixture, config, layout, split=split, groups=mixture.groups[:number])
    seen = [_with_text(group, config.seed, each) for group in opened]
    in_turn = itertools.chain.from_iterable(zip(*seen, strict=True))
    yield from itertools.islice(in_turn, number)


def _with_text(opened: OpenedGroup, seed: int, number: int) -> Iterator[SeenExample]:
    examples = opened.examples(seed=seed)
    made = examples.read(0, number)
    for (task, record), (_, example) in zip(examples.locate(0, number), made, strict=True):
        reader = examples.readers[task]
        yield SeenExample(
            objective=opened.group.objective,
            task=reader.task,
            segments=reader.segments(record),
            example=example,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenRow:
    """A packed row: the ids of each segment, without padding.

    Attributes:
      objective: whose row it is.
      inputs: encoder ids of each segment.
      targets: decoder target ids of each segment.
      padding: (encoder, decoder) ids of the row that are padding.
    """

    objective: str
    inputs: list[np.ndarray]
    targets: list[np.ndarray]
    padding: tuple[int, int]


def first_rows(mixture: Mixture, config: DataConfig, *, number: int) -> Iterator[SeenRow]:
    """Yields the first `number` rows of the run's first batch of each objective.

    Raises:
      DataError: as `nmt5.data.feed.Feed`.
      ConfigError: a number below 1.
    """
    _at_least_one("rows", number)
    batch = next(iter(Feed(mixture, dataclasses.replace(config, prefetch_batches=0))))
    for objective, arrays in batch.arrays.items():
        for index in range(min(number, len(arrays[features.ENCODER_INPUT_TOKENS]))):
            yield seen_row(objective, arrays, index)


def seen_row(objective: str, arrays: Mapping[str, np.ndarray], index: int) -> SeenRow:
    """Returns one row of a batch.

    Args:
      objective: whose batch it is.
      arrays: `{feature: int array (rows, length)}`.
      index: number of the row.
    """
    inputs, targets = (
        (arrays[ids][index], arrays[segments][index])
        for ids, segments in (
            (features.ENCODER_INPUT_TOKENS, features.ENCODER_SEGMENT_IDS),
            (features.DECODER_TARGET_TOKENS, features.DECODER_SEGMENT_IDS),
        )
    )
    return SeenRow(
        objective=objective,
        inputs=_by_segment(*inputs),
        targets=_by_segment(*targets),
        padding=(int((inputs[1] == 0).sum()), int((targets[1] == 0).sum())),
    )


def _by_segment(ids: np.ndarray, segment_ids: np.ndarray) -> list[np.ndarray]:
    return [ids[segment_ids == segment] for segment in range(1, int(segment_ids.max()) + 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskStatistics:
    """What some batches held of one task.

    Attributes:
      task: the task.
      objective: its group's objective.
      examples: examples in the batches.
      encoder_tokens: their encoder tokens.
      target_tokens: their decoder tokens, those of the loss.
      asked: the part of its group's examples that the mixture asks for.
      realised: the part that it was.
      dropped: `{reason: examples}` left out when its corpus was prepared.
    """

    task: TaskSpec
    objective: str
    examples: int
    encoder_tokens: int
    target_tokens: int
    asked: float
    realised: float
    dropped: dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """What some batches held.

    Attributes:
      batches: how many were drawn.
      layout: `{objective: RowLayout}`.
      tasks: a line per task, in the mixture's order.
      truncated: examples that were cut to fit a row.
    """

    batches: int
    layout: dict[str, RowLayout]
    tasks: tuple[TaskStatistics, ...]
    truncated: int

    def of(self, objective: str) -> list[TaskStatistics]:
        """Returns the lines of one objective."""
        return [line for line in self.tasks if line.objective == objective]

    def fill(self, objective: str) -> tuple[float, float]:
        """Returns the part of (encoder, decoder) positions that are no padding."""
        row, lines = self.layout[objective], self.of(objective)
        rows = self.batches * row.rows
        return (
            sum(line.encoder_tokens for line in lines) / (rows * row.inputs_length),
            sum(line.target_tokens for line in lines) / (rows * row.targets_length),
        )


def statistics(mixture: Mixture, config: DataConfig, *, batches: int) -> Statistics:
    """Draws the first batches of a run and counts what is in them.

    Args:
      mixture: the resolved mixture.
      config: store, lengths, tokens per batch, seed.
      batches: how many.

    Raises:
      DataError: as `nmt5.data.feed.Feed`.
      ConfigError: a number below 1.
    """
    _at_least_one("batches", batches)
    feed = Feed(mixture, dataclasses.replace(config, prefetch_batches=0))
    counts, truncated = np.zeros((len(feed.tasks), 3), np.int64), 0
    for batch in itertools.islice(iter(feed), batches):
        counts += batch.sampled
        truncated += batch.truncated
    infos: dict[str, CorpusInfo] = {}
    lines: list[TaskStatistics] = []
    for group in mixture.groups:
        of_group = counts[len(lines) : len(lines) + len(group.tasks)]
        rates = sum(task.rate for task in group.tasks)
        for task, (examples, encoder, target) in zip(group.tasks, of_group.tolist(), strict=True):
            if task.corpus not in infos:
                infos[task.corpus] = read_corpus_info(config.store, task.corpus)
            lines.append(
                TaskStatistics(
                    task=task,
                    objective=group.objective,
                    examples=examples,
                    encoder_tokens=encoder,
                    target_tokens=target,
                    asked=task.rate / rates,
                    realised=examples / int(of_group[:, 0].sum()),
                    dropped=dict(infos[task.corpus].splits["train"].dropped),
                )
            )
    return Statistics(batches=batches, layout=feed.layout, tasks=tuple(lines), truncated=truncated)


def statistics_table(found: Statistics, *, limit: int) -> str:
    """Returns the statistics as lines of text.

    Args:
      found: what was counted.
      limit: most tasks to list per objective, the most frequent first; 0 lists all.

    Returns:
      Per objective its rows, fill and shares, and per task the part of examples asked for and
      drawn, mean lengths, and how many examples of its corpus `prepare` dropped (the reasons are
      in `corpus.json`).
    """
    encoder = sum(line.encoder_tokens for line in found.tasks)
    target = sum(line.target_tokens for line in found.tasks)
    examples = sum(line.examples for line in found.tasks)
    lines = [
        f"{found.batches} batches: {examples:,} examples, {encoder:,} encoder tokens, {target:,} "
        f"target tokens, {found.truncated:,} examples cut to fit ({found.truncated / examples:.2%})"
    ]
    for objective, row in found.layout.items():
        of_group = found.of(objective)
        in_fill, out_fill = found.fill(objective)
        group_encoder = sum(line.encoder_tokens for line in of_group)
        group_target = sum(line.target_tokens for line in of_group)
        lines += [
            "",
            f"{objective}: {row.rows} rows of {row.inputs_length} / {row.targets_length} per "
            f"batch, filled to {in_fill:.1%} / {out_fill:.1%}",
            f"  encoder tokens {group_encoder / encoder:.2%} (asked {row.asked_share:.2%}), "
            f"target tokens {group_target / target:.2%}",
            f"  {'asked':>8} {'drawn':>8} {'examples':>9} {'inputs':>8} {'targets':>8} "
            f"{'dropped':>9}  task",
        ]
        frequent = sorted(of_group, key=lambda line: (-line.examples, line.task.name))
        shown = frequent[:limit] if limit else frequent
        lines += [_task_line(line) for line in shown]
        if len(frequent) > len(shown):
            lines.append(f"  ... and {len(frequent) - len(shown)} more")
    return "\n".join(lines)


def _task_line(line: TaskStatistics) -> str:
    each = max(line.examples, 1)
    return (
        f"  {line.asked:8.3%} {line.realised:8.3%} {line.examples:9,} "
        f"{line.encoder_tokens / each:8.1f} {line.target_tokens / each:8.1f} "
        f"{sum(line.dropped.values()):9,}  {line.task.name}"
    )


def _at_least_one(what: str, number: int) -> None:
    if number < 1:
        raise ConfigError(f"{number} {what} asked for, expected at least 1")


def split_at(ids: Sequence[int], *, marks: range) -> Iterator[tuple[bool, list[int]]]:
    """Yields runs of ids as (whether they are marks, the run), for colouring sentinels.

    >>> list(split_at([5, 6, 99, 7], marks=range(90, 100)))
    [(False, [5, 6]), (True, [99]), (False, [7])]
    """
    for is_mark, run in itertools.groupby(map(int, ids), key=lambda token: token in marks):
        yield is_mark, list(run)
