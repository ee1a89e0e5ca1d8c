"""From definitions and counts to numbers: rates of examples, and what the feed reads."""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import functools
import os

import numpy as np

from nmt5.core.errors import DataError
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.language_sampling import (
    alpha_weights,
    capped_shares,
    example_rates,
    token_shares,
)
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec
from nmt5.data.objectives import find_objective
from nmt5.data.sources.base import Corpus
from nmt5.data.spans import corrupted_lengths, fitting_lengths
from nmt5.data.store import corpus_exists, read_corpus_info
from nmt5.data.vocabulary import Vocabulary, require_same

TRAIN = "train"
# T5's preprocessors concatenate so many documents before they cut segments.
DOCUMENTS_PER_GROUP = 128
# A length that stands for "no limit given" when only a mean length is wanted.
_NO_LIMIT = 1 << 20
_COUNTED_AT_ONCE = 1000
# Long enough for the part of a text that stays in the inputs to be what it is in any row.
_LONG_ROW_TOKENS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSize:
    """Training examples of a corpus, and their token ids per language."""

    examples: int
    tokens: Mapping[str, int]


def corpus_size(
    corpus: Corpus, *, store: os.PathLike | str | None, vocabulary: Vocabulary
) -> CorpusSize:
    """Returns how much training text there is: from the store, else by reading all of it.

    Reading is for small corpora; `prepare` writes the counts of large ones.

    Raises:
      VocabularyError: the store was made with another vocabulary.
    """
    if store is None or not corpus_exists(store, corpus.name):
        return _counted(corpus, vocabulary)
    info = read_corpus_info(store, corpus.name)
    require_same(info.vocabulary, vocabulary.fingerprint, where=f"store {store}, {corpus.name}")
    if TRAIN not in info.splits:
        return CorpusSize(examples=0, tokens=dict.fromkeys(info.languages, 0))
    split = info.splits[TRAIN]
    return CorpusSize(examples=split.examples, tokens=split.tokens)


@functools.lru_cache(maxsize=8192)
def _counted(corpus: Corpus, vocabulary: Vocabulary) -> CorpusSize:
    examples, tokens = 0, dict.fromkeys(corpus.source.languages, 0)
    waiting: list[dict[str, str]] = []

    def count() -> None:
        for language in tokens:
            texts = [example[language] for example in waiting]
            tokens[language] += sum(map(len, vocabulary.encode_batch(texts)))
        waiting.clear()

    for shard in corpus.source.shards(TRAIN):
        for example in corpus.source.read(TRAIN, shard, Counter()):
            waiting.append(example)
            examples += 1
            if len(waiting) == _COUNTED_AT_ONCE:
                count()
    count()
    return CorpusSize(examples=examples, tokens=tokens)


def encoder_tokens_per_example(
    task: TaskDefinition,
    size: CorpusSize,
    *,
    vocabulary: Vocabulary,
    inputs_length: int,
    targets_length: int | None = None,
) -> float:
    """Returns the mean encoder length of the examples that SeqIO makes of a task.

    Monolingual text is cut into segments that fill a row. Of pairs, the objective is asked what it
    makes of a pair of mean length, in whole tokens above and below.
    """
    if size.examples == 0:
        return 0.0
    targets_length = targets_length or _NO_LIMIT
    noise = {
        name: task.settings[name]
        for name in ("noise_density", "mean_span_tokens")
        if name in task.settings
    }
    means = [size.tokens[language] / size.examples for language in task.languages]
    if not task.is_parallel:
        longest = fitting_lengths(inputs_length, targets_length=targets_length, **noise)
        in_group = means[0] * DOCUMENTS_PER_GROUP
        segments = max(1, -(-round(in_group) // longest.raw))
        return float(corrupted_lengths(max(1, round(in_group / segments)), **noise).inputs)

    def inputs_of(lengths: list[int]) -> int:
        pair = tuple(np.full(max(1, length), 3, np.int32) for length in lengths)
        example = find_objective(task.objective)(
            pair,
            np.random.default_rng(0),
            ids=vocabulary.token_ids,
            prefix=task.prefix(vocabulary),
            max_inputs=inputs_length,
            max_targets=targets_length,
            **task.settings,
        )
        return len(example.inputs)

    below = inputs_of([int(mean) for mean in means])
    above = inputs_of([int(mean) + 1 for mean in means])
    return below + (above - below) * (means[0] % 1)


def example_rates_of(
    definition: MixtureDefinition,
    *,
    store: os.PathLike | str | None,
    vocabulary: Vocabulary,
    inputs_length: int,
    targets_length: int | None = None,
) -> dict[str, float]:
    """Returns `{task: rate of examples}` that gives each group its share of encoder tokens.

    Args:
      definition: the mixture.
      store: where counts are looked for; None reads the sources.
      vocabulary: counts tokens.
      inputs_length: encoder tokens of an example at most, as SeqIO's `sequence_length`.
      targets_length: the same of the decoder.
    """
    sizes = {
        task.name: corpus_size(task.corpus, store=store, vocabulary=vocabulary)
        for task in definition.tasks
    }
    tokens = {
        task.name: encoder_tokens_per_example(
            task,
            sizes[task.name],
            vocabulary=vocabulary,
            inputs_length=inputs_length,
            targets_length=targets_length,
        )
        for task in definition.tasks
    }
    return example_rates(
        _weights(definition, sizes, tokens_per_example=tokens),
        shares=definition.shares(),
        tokens_per_example=tokens,
    )


def resolve_definition(
    definition: MixtureDefinition,
    *,
    store: os.PathLike | str,
    vocabulary: Vocabulary,
    inputs_length: int,
) -> Mixture:
    """Returns everything that the feed needs to know of a mixture.

    Args:
      definition: the mixture.
      store: the store root; every corpus must be in it.
      vocabulary: the vocabulary that made the store.
      inputs_length: row length at which rates of examples are turned into shares of tokens, for a
        mixture that has rates of its own.

    Raises:
      DataError: corpora that are not in the store (all of them), or without training text.
      VocabularyError: a corpus was made with another vocabulary.
    """
    missing = sorted(
        {
            task.corpus.name
            for task in definition.tasks
            if not corpus_exists(store, task.corpus.name)
        }
    )
    if missing:
        raise DataError(
            f"mixture '{definition.name}': {len(missing)} corpora are not in the store {store}: "
            f"{', '.join(missing[:5])}; make them with `nmt5 prepare`"
        )
    sizes = {
        task.name: corpus_size(task.corpus, store=store, vocabulary=vocabulary)
        for task in definition.tasks
    }
    tokens = {}
    if definition.rates is not None or definition.max_epochs is not None:
        tokens = {
            task.name: encoder_tokens_per_example(
                task, sizes[task.name], vocabulary=vocabulary, inputs_length=inputs_length
            )
            for task in definition.tasks
        }
    weights = _weights(definition, sizes, tokens_per_example=tokens)
    if definition.rates is None:
        shares = definition.shares()
    else:
        shares = token_shares(weights, tokens_per_example=tokens)
    return Mixture(
        name=definition.name,
        vocabulary=vocabulary.token_ids,
        groups=tuple(
            GroupSpec(
                objective=objective,
                settings=dict(tasks[0].settings),
                share=shares[objective],
                tasks=tuple(
                    TaskSpec(
                        name=task.name,
                        corpus=task.corpus.name,
                        languages=task.languages,
                        rate=weights[objective][task.name],
                        prefix=task.prefix(vocabulary),
                    )
                    for task in tasks
                ),
            )
            for objective, tasks in definition.groups().items()
        ),
    )


def _weights(
    definition: MixtureDefinition,
    sizes: Mapping[str, CorpusSize],
    *,
    tokens_per_example: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    groups = definition.groups()
    if definition.rates is not None:
        return {
            objective: {task.name: definition.rates[task.name] for task in tasks}
            for objective, tasks in groups.items()
        }
    weights = {
        objective: alpha_weights(
            {task.name: sizes[task.name].examples for task in tasks},
            languages={task.name: task.languages for task in tasks},
            alpha=definition.alpha,
        )
        for objective, tasks in groups.items()
    }
    if definition.max_epochs is None or definition.budget_tokens is None:
        return weights
    shares = definition.shares()
    return {
        objective: _capped(
            tasks,
            weights[objective],
            sizes=sizes,
            tokens_per_example=tokens_per_example,
            most_passes=definition.max_epochs / (definition.budget_tokens * shares[objective]),
        )
        for objective, tasks in groups.items()
    }


def _capped(
    tasks: list[TaskDefinition],
    weights: Mapping[str, float],
    *,
    sizes: Mapping[str, CorpusSize],
    tokens_per_example: Mapping[str, float],
    most_passes: float,
) -> dict[str, float]:
    """Returns weights under which no task is read more often than allowed.

    Args:
      tasks: those of one group.
      weights: `{task: weight of examples}` without caps.
      sizes: `{task: its text}`.
      tokens_per_example: `{task: mean encoder tokens}`.
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
            caps[name] = most_passes * size.tokens[task.languages[0]] * _kept_part(task)
    capped = capped_shares(wanted, caps=caps)
    return {name: capped[name] * weights[name] / wanted[name] for name in wanted}


def _kept_part(task: TaskDefinition) -> float:
    """Returns encoder tokens per token of running text."""
    noise = {
        name: task.settings[name]
        for name in ("noise_density", "mean_span_tokens")
        if name in task.settings
    }
    fitting = fitting_lengths(_LONG_ROW_TOKENS, **noise)
    return fitting.inputs / fitting.raw
