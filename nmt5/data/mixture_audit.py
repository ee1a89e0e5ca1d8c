"""What a resolved mixture will read in a run of so many steps: passes per language and pair.

Worked out from the store's counts, or published ones, by the arithmetic of the feed, with texts of
mean length and rows packed without gaps; `nmt5 show --stats` counts what real batches hold.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
import dataclasses
import os

import numpy as np

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.corpus_sizes import TRAIN, CorpusSize
from nmt5.data.example_lengths import mean_lengths
from nmt5.data.examples import check_vocabulary
from nmt5.data.layout import DataConfig, RowLayout, plan_layout
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec
from nmt5.data.objectives import find_objective
from nmt5.data.sampling_audit import AuditRow, audit
from nmt5.data.store import CorpusInfo, read_corpus_info


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """What a run draws of one task.

    Attributes:
      task: the task.
      pass_tokens: encoder tokens of one pass over its text.
      encoder_tokens: encoder tokens that the run draws.
      target_tokens: decoder tokens that the run draws.
    """

    task: TaskSpec
    pass_tokens: float
    encoder_tokens: float
    target_tokens: float

    @property
    def epochs(self) -> float:
        """Passes over its text."""
        return self.encoder_tokens / self.pass_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """What a run draws of one objective's tasks.

    Attributes:
      objective: its name.
      layout: its rows.
      tasks: those that are drawn.
      left_out: tasks to which language sampling gives no weight.
      removed_mass: as `Mixture.removed_mass`.
    """

    objective: str
    layout: RowLayout
    tasks: tuple[TaskPlan, ...]
    left_out: tuple[str, ...] = ()
    removed_mass: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def encoder_tokens(self) -> float:
        """Encoder tokens of all tasks, padding not counted."""
        return sum(plan.encoder_tokens for plan in self.tasks)

    @property
    def target_tokens(self) -> float:
        """Decoder tokens of all tasks, those of the loss."""
        return sum(plan.target_tokens for plan in self.tasks)

    def by_languages(self) -> list[AuditRow]:
        """Returns a line per language or pair, both directions and all its corpora together.

        One pass over a pair reads it in every direction that has a task.
        """
        drawn: dict[str, float] = defaultdict(float)
        tokens: dict[str, float] = defaultdict(float)
        for plan in self.tasks:
            name = "-".join(sorted(plan.task.languages))
            drawn[name] += plan.encoder_tokens
            tokens[name] += plan.pass_tokens
        return audit(drawn, tokens=tokens, drawn_tokens=self.encoder_tokens)

    def by_language(self) -> list[AuditRow]:
        """Returns a line per language; a task's tokens count for its languages in equal parts."""
        drawn: dict[str, float] = defaultdict(float)
        tokens: dict[str, float] = defaultdict(float)
        for plan in self.tasks:
            for language in plan.task.languages:
                drawn[language] += plan.encoder_tokens / len(plan.task.languages)
                tokens[language] += plan.pass_tokens / len(plan.task.languages)
        rows = audit(drawn, tokens=tokens, drawn_tokens=self.encoder_tokens)
        return [dataclasses.replace(row, removed=self.removed_mass.get(row.name)) for row in rows]

    def by_task(self) -> list[AuditRow]:
        """Returns a line per task."""
        return audit(
            {plan.task.name: plan.encoder_tokens for plan in self.tasks},
            tokens={plan.task.name: plan.pass_tokens for plan in self.tasks},
            drawn_tokens=self.encoder_tokens,
        )


def plan_run(
    mixture: Mixture,
    config: DataConfig,
    *,
    steps: int,
    sizes: Mapping[str, CorpusSize] | None = None,
) -> list[GroupPlan]:
    """Returns what each objective's tasks supply in a run.

    Args:
      mixture: the resolved mixture.
      config: store, lengths and tokens per batch.
      steps: batches of the run.
      sizes: `{task: its text}` instead of what the store has.

    Raises:
      ConfigError: steps below 1.
      DataError: a corpus is missing or has no training text.
      VocabularyError: a corpus was made with another vocabulary.
    """
    if steps < 1:
        raise ConfigError(f"sampling: {steps} steps, expected at least 1")
    layout = plan_layout(mixture, config)
    if sizes is None:
        sizes = stored_sizes(mixture, store=config.store)
    return [
        _group_plan(group, layout[group.objective], sizes=sizes, mixture=mixture, steps=steps)
        for group in mixture.groups
    ]


def stored_sizes(mixture: Mixture, *, store: os.PathLike | str) -> dict[str, CorpusSize]:
    """Returns `{task: its training text in the store}`; errors as `plan_run`."""
    infos: dict[str, CorpusInfo] = {}
    sizes, empty = {}, []
    for task in (task for group in mixture.groups for task in group.tasks):
        if task.corpus not in infos:
            infos[task.corpus] = read_corpus_info(store, task.corpus)
        info = infos[task.corpus]
        check_vocabulary(info, ids=mixture.vocabulary, mixture=mixture.name, task=task.name)
        split = info.splits.get(TRAIN)
        if split is None or not split.num_records:
            empty.append(task.name)
        else:
            sizes[task.name] = CorpusSize(examples=split.num_records, tokens=split.tokens)
    if empty:
        raise DataError(
            f"mixture '{mixture.name}': {len(empty)} tasks have no training text in {store}: "
            f"{', '.join(empty[:5])}; leave them out"
        )
    return sizes


def _group_plan(
    group: GroupSpec,
    row: RowLayout,
    *,
    sizes: Mapping[str, CorpusSize],
    mixture: Mixture,
    steps: int,
) -> GroupPlan:
    rates = np.array([task.rate for task in group.tasks])
    rates = rates / rates.sum()
    lengths, passes = np.zeros((len(rates), 2)), np.zeros(len(rates))
    known: dict[tuple, np.ndarray] = {}
    for index, task in enumerate(group.tasks):
        means, passes[index] = _mean_segments(task, sizes[task.name], row)
        key = (means, len(task.prefix), len(task.target_prefix))
        if key not in known:
            known[key] = mean_lengths(
                group.objective,
                means,
                ids=mixture.vocabulary,
                prefix=task.prefix,
                target_prefix=task.target_prefix,
                max_inputs=row.inputs_length,
                max_targets=row.targets_length,
                settings=group.settings,
            )
        lengths[index] = known[key]
    examples_per_row = 1.0
    if find_objective(group.objective).packs:
        sides = np.array([row.inputs_length, row.targets_length])
        examples_per_row = float((sides / (rates @ lengths)).min())
    examples = steps * row.rows * examples_per_row * rates
    return GroupPlan(
        objective=group.objective,
        layout=row,
        tasks=tuple(
            TaskPlan(
                task=task,
                pass_tokens=float(passes[i] * lengths[i, 0]),
                encoder_tokens=float(examples[i] * lengths[i, 0]),
                target_tokens=float(examples[i] * lengths[i, 1]),
            )
            for i, task in enumerate(group.tasks)
        ),
        left_out=mixture.left_out.get(group.objective, ()),
        removed_mass=mixture.removed_mass.get(group.objective, {}),
    )


def _mean_segments(
    task: TaskSpec, size: CorpusSize, row: RowLayout
) -> tuple[tuple[float, ...], float]:
    """Returns (mean ids of each text of an example, examples of one pass)."""
    if row.raw_segment is None:
        examples = size.examples
    else:
        (language,) = task.languages
        examples = max(-(-size.tokens[language] // row.raw_segment), 1)
    means = tuple(size.tokens[language] / examples for language in task.languages)
    return means, float(examples)


def group_table(plans: Sequence[GroupPlan]) -> str:
    """Returns the shares of the objectives as lines of text."""
    encoder = sum(plan.encoder_tokens for plan in plans)
    target = sum(plan.target_tokens for plan in plans)
    lines = [
        f"{'objective':18} {'rows':>6} {'asked':>8} {'encoder':>8} {'loss':>8} "
        f"{'encoder tokens':>18} {'passes':>8}"
    ]
    for plan in plans:
        one_pass = sum(task.pass_tokens for task in plan.tasks)
        lines.append(
            f"{plan.objective:18} {plan.layout.rows:6} {plan.layout.asked_share:8.2%} "
            f"{plan.encoder_tokens / encoder:8.2%} {plan.target_tokens / target:8.2%} "
            f"{plan.encoder_tokens:18,.0f} {plan.encoder_tokens / one_pass:8.3f}"
        )
    return "\n".join(lines)
