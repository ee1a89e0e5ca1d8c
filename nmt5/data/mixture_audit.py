"""What a resolved mixture will read in a run of so many steps: passes per language and pair.

Worked out from the store's counts by the arithmetic of the feed, with texts of mean length and rows
packed without gaps; `nmt5 show --stats` counts what real batches hold.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
import dataclasses
import os

import numpy as np

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.examples import check_vocabulary
from nmt5.data.layout import DataConfig, RowLayout, plan_layout
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec
from nmt5.data.objectives import find_objective
from nmt5.data.sampling_audit import AuditRow, audit
from nmt5.data.store import CorpusInfo, SplitInfo, read_corpus_info

# A mean is taken between the examples of the whole lengths above and below it, and over noise.
_NOISE_DRAWS = 4


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
    """What a run draws of one objective's tasks."""

    objective: str
    layout: RowLayout
    tasks: tuple[TaskPlan, ...]

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

    def by_task(self) -> list[AuditRow]:
        """Returns a line per task."""
        return audit(
            {plan.task.name: plan.encoder_tokens for plan in self.tasks},
            tokens={plan.task.name: plan.pass_tokens for plan in self.tasks},
            drawn_tokens=self.encoder_tokens,
        )


def plan_run(mixture: Mixture, config: DataConfig, *, steps: int) -> list[GroupPlan]:
    """Returns what each objective's tasks supply in a run.

    Args:
      mixture: the resolved mixture.
      config: store, lengths and tokens per batch.
      steps: batches of the run.

    Raises:
      ConfigError: steps below 1.
      DataError: a corpus is missing or has no training text.
      VocabularyError: a corpus was made with another vocabulary.
    """
    if steps < 1:
        raise ConfigError(f"sampling: {steps} steps, expected at least 1")
    layout = plan_layout(mixture, config)
    infos: dict[str, CorpusInfo] = {}
    return [
        _group_plan(
            group,
            layout[group.objective],
            splits=_train_splits(group, mixture, store=config.store, infos=infos),
            mixture=mixture,
            steps=steps,
        )
        for group in mixture.groups
    ]


def _train_splits(
    group: GroupSpec,
    mixture: Mixture,
    *,
    store: os.PathLike | str,
    infos: dict[str, CorpusInfo],
) -> list[SplitInfo]:
    splits, empty = [], []
    for task in group.tasks:
        if task.corpus not in infos:
            infos[task.corpus] = read_corpus_info(store, task.corpus)
        info = infos[task.corpus]
        check_vocabulary(info, ids=mixture.vocabulary, mixture=mixture.name, task=task.name)
        split = info.splits.get("train")
        if split is None or not split.num_records:
            empty.append(task.name)
        else:
            splits.append(split)
    if empty:
        raise DataError(
            f"mixture '{mixture.name}': {len(empty)} tasks have no training text in {store}: "
            f"{', '.join(empty[:5])}; leave them out"
        )
    return splits


def _group_plan(
    group: GroupSpec,
    row: RowLayout,
    *,
    splits: Sequence[SplitInfo],
    mixture: Mixture,
    steps: int,
) -> GroupPlan:
    objective = find_objective(group.objective)
    rates = np.array([task.rate for task in group.tasks])
    rates = rates / rates.sum()
    lengths, passes = np.zeros((len(rates), 2)), np.zeros(len(rates))
    kept: dict[tuple[tuple[float, ...], int], np.ndarray] = {}
    for index, (task, split) in enumerate(zip(group.tasks, splits, strict=True)):
        means, passes[index] = _mean_segments(task, split, row)
        key = (means, len(task.prefix))
        if key not in kept:
            kept[key] = _mean_lengths(group, row, means, prefix=task.prefix, mixture=mixture)
        lengths[index] = kept[key]
    examples_per_row = 1.0
    if objective.packs:
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
    )


def _mean_segments(
    task: TaskSpec, split: SplitInfo, row: RowLayout
) -> tuple[tuple[float, ...], float]:
    """Returns (mean ids of each text of an example, examples of one pass)."""
    if row.raw_segment is None:
        examples = split.num_records
    else:
        (language,) = task.languages
        examples = max(-(-split.tokens[language] // row.raw_segment), 1)
    means = tuple(split.tokens[language] / examples for language in task.languages)
    return means, float(examples)


def _mean_lengths(
    group: GroupSpec,
    row: RowLayout,
    means: tuple[float, ...],
    *,
    prefix: tuple[int, ...],
    mixture: Mixture,
) -> np.ndarray:
    """Returns mean (inputs, targets) of examples, by asking the objective."""
    objective = find_objective(group.objective)

    def made(lengths: Sequence[int]) -> np.ndarray:
        segments = tuple(np.full(max(length, 1), 3, np.int32) for length in lengths)
        total = np.zeros(2)
        for seed in range(_NOISE_DRAWS):
            example = objective(
                segments,
                np.random.default_rng(seed),
                ids=mixture.vocabulary,
                prefix=prefix,
                max_inputs=row.inputs_length,
                max_targets=row.targets_length,
                **group.settings,
            )
            total += len(example.inputs), len(example.targets)
        return total / _NOISE_DRAWS

    below = made([int(mean) for mean in means])
    above = made([int(mean) + 1 for mean in means])
    return below + (above - below) * (sum(mean % 1 for mean in means) / len(means))


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


def epochs_svg(rows: Mapping[str, Sequence[AuditRow]], *, title: str) -> str:
    """Returns a drawing of passes over the text of each language or pair, smallest text first.

    Args:
      rows: `{objective: audit}`.
      title: above it.
    """
    height, left, width, bar = 120, 60, 900, 90
    parts, top = [], 40
    for objective, of_group in rows.items():
        ordered = sorted(of_group, key=lambda row: row.tokens)
        most = max(row.epochs for row in ordered)
        step = width / len(ordered)
        parts.append(f'<text x="{left}" y="{top - 6}">{_escaped(objective)}: passes</text>')
        parts.append(f'<text x="4" y="{top + 10}">{most:.3g}</text>')
        parts.append(f'<text x="4" y="{top + bar}">0</text>')
        for index, row in enumerate(ordered):
            tall = bar * row.epochs / most
            tip = f"{row.name}: {row.epochs:.3g} passes over {row.tokens:,.0f} tokens"
            parts.append(
                f'<rect x="{left + index * step:.1f}" y="{top + bar - tall:.1f}" '
                f'width="{max(step - 0.5, 0.5):.1f}" height="{tall:.1f}">'
                f"<title>{_escaped(tip)}</title></rect>"
            )
        top += height + 20
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {top}" '
        'font-family="sans-serif" font-size="12" fill="#2a5d84">\n'
        f'<text x="4" y="16" font-size="14">{_escaped(title)}</text>\n{body}\n</svg>\n'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
