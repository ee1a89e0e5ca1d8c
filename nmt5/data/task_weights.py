"""What weight each task of a mixture gets: the mixture's settings applied to counts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
import dataclasses

from nmt5.core.errors import DataError
from nmt5.data.corpus_sizes import CorpusSize
from nmt5.data.count_tables import Counts, counts_of
from nmt5.data.definitions import (
    SINKHORN,
    SINKHORN_ENTROPIC,
    MixtureDefinition,
    TaskDefinition,
)
from nmt5.data.language_sampling import alpha_weights, capped_shares, shared_weights
from nmt5.data.languages import pair
from nmt5.data.objectives import find_objective
from nmt5.data.sinkhorn import MAX_LOST, pair_sampling


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """How often tasks are drawn within their groups.

    Attributes:
      weights: `{objective: {task: weight}}`, 0 for a task that is never drawn.
      removed_mass: `{objective: {language: part of its marginal}}` that fell on directions without
        text; only of groups sampled by Sinkhorn's iteration.
    """

    weights: Mapping[str, Mapping[str, float]]
    removed_mass: Mapping[str, Mapping[str, float]]


def task_weights(
    definition: MixtureDefinition,
    *,
    sizes: Mapping[str, CorpusSize],
    tokens_per_example: Mapping[str, float],
    inputs_per_text_token: Mapping[str, float],
) -> TaskWeights:
    """Returns the weights that a mixture's settings give its tasks.

    Args:
      definition: the mixture.
      sizes: `{task: its text}`.
      tokens_per_example: `{task: mean encoder tokens}`; needed for caps on epochs.
      inputs_per_text_token: `{monolingual task: encoder tokens per id of its text}`; likewise.

    Raises:
      DataError: a task without text, a language or pair that the given counts lack, caps that
        leave nothing, or a table that cannot meet the wanted shares of languages.
    """
    groups = definition.groups()
    if definition.rates is not None:
        rates = definition.rates
        return TaskWeights(
            {
                name: {task.name: rates[task.name] for task in tasks}
                for name, tasks in groups.items()
            },
            {},
        )
    counts = counts_of(definition.counts) if definition.counts is not None else {}
    weights, removed = {}, {}
    for objective, tasks in groups.items():
        examples = {task.name: sizes[task.name].examples for task in tasks}
        amounts = _given_amounts(definition.name, tasks, counts)
        of_pairs = tasks[0].is_parallel and not find_objective(objective).ready_made
        if of_pairs and definition.sampling in (SINKHORN, SINKHORN_ENTROPIC):
            weights[objective], removed[objective] = _sinkhorn(
                definition, tasks, examples=examples, amounts=amounts
            )
        else:
            weights[objective] = alpha_weights(
                examples,
                languages={task.name: task.languages for task in tasks},
                alpha=definition.exponent,
                amounts=amounts,
            )
    if definition.max_epochs is not None and definition.budget_tokens is not None:
        shares = definition.group_shares()
        for objective, tasks in groups.items():
            weights[objective] = _capped(
                [task for task in tasks if weights[objective][task.name] > 0],
                weights[objective],
                sizes=sizes,
                tokens_per_example=tokens_per_example,
                inputs_per_text_token=inputs_per_text_token,
                most_passes=definition.max_epochs / (definition.budget_tokens * shares[objective]),
            )
    return TaskWeights(weights, removed)


def _given_amounts(
    mixture: str, tasks: Sequence[TaskDefinition], counts: Counts
) -> dict[tuple[str, ...], float] | None:
    """Returns `{task's languages: count}` if tables were given for this kind of task."""
    number = len(tasks[0].languages)
    if not any(len(languages) == number for languages in counts):
        return None
    amounts = {task.languages: counts.get(_stored_order(task)) for task in tasks}
    if missing := sorted({"-".join(k) for k, count in amounts.items() if not count}):
        raise DataError(
            f"mixture '{mixture}': the given counts have no text of {len(missing)} of its "
            f"{'pairs' if number == 2 else 'languages'}: {', '.join(missing[:5])}; add them to the "
            "table or take their tasks out of the mixture"
        )
    return {languages: count for languages, count in amounts.items() if count is not None}


def _stored_order(task: TaskDefinition) -> tuple[str, ...]:
    return pair(*task.languages) if task.is_parallel else task.languages


def _sinkhorn(
    definition: MixtureDefinition,
    tasks: Sequence[TaskDefinition],
    *,
    examples: Mapping[str, float],
    amounts: Mapping[tuple[str, ...], float] | None,
) -> tuple[dict[str, float], dict[str, float]]:
    counts: dict[tuple[str, str], float] = defaultdict(float)
    if amounts is not None:
        counts |= {pair(*languages): count for languages, count in amounts.items()}
    else:
        for task in {task.corpus.name: task for task in tasks}.values():
            counts[pair(*task.languages)] += examples[task.name]
    sampling = pair_sampling(
        counts,
        temperature=1 / definition.exponent,
        entropic=definition.sampling == SINKHORN_ENTROPIC,
    )
    directions = sampling.of_pairs()
    served = {task.languages for task in tasks}
    unserved = sorted(set(directions) - served)
    lost = sum(directions[direction] for direction in unserved)
    if lost > MAX_LOST:
        raise DataError(
            f"mixture '{definition.name}': {lost:.1%} of the draws fall on {len(unserved)} "
            f"directions that have no task: {', '.join('-'.join(d) for d in unserved[:5])}; "
            "register both directions of each pair, or use alpha sampling"
        )
    weights = shared_weights(
        examples,
        languages={task.name: task.languages for task in tasks},
        weights={languages: directions.get(languages, 0.0) for languages in served},
    )
    return weights, dict(sampling.lost)


def _capped(
    tasks: Sequence[TaskDefinition],
    weights: Mapping[str, float],
    *,
    sizes: Mapping[str, CorpusSize],
    tokens_per_example: Mapping[str, float],
    inputs_per_text_token: Mapping[str, float],
    most_passes: float,
) -> dict[str, float]:
    """Returns weights under which no task is read more often than allowed.

    Args:
      tasks: those of one group that are drawn.
      weights: `{task: weight of examples}` without caps.
      sizes: `{task: its text}`.
      tokens_per_example: `{task: mean encoder tokens}`.
      inputs_per_text_token: `{monolingual task: encoder tokens per id of text}`.
      most_passes: allowed passes per token that the group draws in the run.
    """
    wanted, caps = {}, {}
    for task in tasks:
        size, name = sizes[task.name], task.name
        # A row of running text is as good as full, so its weight is one of tokens already.
        each = tokens_per_example[name] if task.is_parallel else 1.0
        wanted[name] = weights[name] * each
        if task.is_parallel:
            caps[name] = most_passes * size.examples * each
        else:
            text = size.tokens[task.languages[0]] * inputs_per_text_token[name]
            caps[name] = most_passes * text
    capped = capped_shares(wanted, caps=caps)
    return dict.fromkeys(weights, 0.0) | {
        name: capped[name] * weights[name] / wanted[name] for name in wanted
    }
