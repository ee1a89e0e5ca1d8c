"""From definitions and counts to numbers: rates of examples, and what the feed reads."""

from collections.abc import Callable, Mapping
import os

from nmt5.core.errors import DataError
from nmt5.data.corpus_sizes import CorpusSize, corpus_size
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.dictionaries import stored
from nmt5.data.example_lengths import mean_lengths
from nmt5.data.language_sampling import example_rates, token_shares
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec
from nmt5.data.objectives import find_objective
from nmt5.data.store import corpus_exists
from nmt5.data.task_weights import TaskWeights, task_weights
from nmt5.data.vocabulary import Vocabulary

# T5's preprocessors concatenate so many documents before they cut segments.
DOCUMENTS_PER_GROUP = 128
# A length that stands for "no limit given" when only a mean length is wanted.
_NO_LIMIT = 1 << 20
# Long enough for the part of a text that stays in the inputs to be what it is in any row.
_LONG_ROW_TOKENS = 1024


def text_lengths(
    task: TaskDefinition, *, inputs_length: int | None, targets_length: int | None
) -> tuple[int, int, int | None]:
    """Returns what a task's examples may be long where SeqIO asks for these lengths.

    Args:
      task: the task.
      inputs_length: wanted longest inputs; None is no limit for pairs, 1,024 for running text.
      targets_length: wanted longest targets; None is no limit for pairs, for running text what the
        inputs come to.

    Returns:
      (longest inputs, longest targets, ids of a piece of running text; None for pairs).
    """
    objective = find_objective(task.objective)
    if objective.segment_tokens is None:
        return inputs_length or _NO_LIMIT, targets_length or _NO_LIMIT, None
    inputs_length = inputs_length or _LONG_ROW_TOKENS
    targets_length = targets_length or objective.row_lengths(inputs_length, task.settings)[1]
    piece = objective.segment_tokens(inputs_length, targets_length, task.settings)
    return inputs_length, targets_length, piece


def encoder_tokens_per_example(
    task: TaskDefinition,
    size: CorpusSize,
    *,
    vocabulary: Vocabulary,
    inputs_length: int,
    targets_length: int | None = None,
) -> float:
    """Returns the mean encoder length of the examples that SeqIO makes of a task.

    Running text is cut into pieces of one length, but for the last one of 128 documents; a pair is
    an example. The objective is asked what it makes of a text of mean length.
    """
    if size.examples == 0:
        return 0.0
    max_inputs, max_targets, piece = text_lengths(
        task, inputs_length=inputs_length, targets_length=targets_length
    )
    means = [size.tokens[language] / size.examples for language in task.languages]
    if piece is not None:
        in_group = means[0] * DOCUMENTS_PER_GROUP
        num_pieces = max(1, -(-round(in_group) // piece))
        means = [max(1, round(in_group / num_pieces))]
    inputs, _ = mean_lengths(
        task.objective,
        means,
        ids=vocabulary.token_ids,
        prefix=task.prefix(vocabulary),
        target_prefix=task.target_prefix(vocabulary),
        max_inputs=max_inputs,
        max_targets=max_targets,
        settings=task.settings,
    )
    return float(inputs)


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
    found = _weights(definition, sizes, tokens_per_example=tokens, vocabulary=vocabulary)
    return example_rates(found.weights, shares=definition.group_shares(), tokens_per_example=tokens)


def resolve_definition(
    definition: MixtureDefinition,
    *,
    store: os.PathLike | str,
    vocabulary: Vocabulary,
    inputs_length: int,
) -> Mixture:
    """Returns everything that the feed needs to know of a mixture.

    Dictionaries of its tasks are encoded and written into the store.

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
    return resolved(
        definition,
        size_of=lambda task: corpus_size(task.corpus, store=store, vocabulary=vocabulary),
        dictionary_of=lambda task: (
            stored(task.dictionary, store=store, vocabulary=vocabulary) if task.dictionary else None
        ),
        vocabulary=vocabulary,
        inputs_length=inputs_length,
    )


def resolved(
    definition: MixtureDefinition,
    *,
    size_of: Callable[[TaskDefinition], CorpusSize],
    dictionary_of: Callable[[TaskDefinition], str | None],
    vocabulary: Vocabulary,
    inputs_length: int,
) -> Mixture:
    """Returns the resolved mixture, given what its tasks' text and dictionaries are.

    Arguments and errors otherwise as `resolve_definition`.
    """
    sizes = {task.name: size_of(task) for task in definition.tasks}
    tokens = {}
    if definition.rates is not None or definition.max_epochs is not None:
        tokens = {
            task.name: encoder_tokens_per_example(
                task, sizes[task.name], vocabulary=vocabulary, inputs_length=inputs_length
            )
            for task in definition.tasks
        }
    found = _weights(definition, sizes, tokens_per_example=tokens, vocabulary=vocabulary)
    if definition.rates is None:
        shares = definition.group_shares()
    else:
        shares = token_shares(found.weights, tokens_per_example=tokens)
    groups, left_out = [], {}
    for objective, tasks in definition.groups().items():
        weights = found.weights[objective]
        unsampled = tuple(task.name for task in tasks if not weights[task.name] > 0)
        if unsampled:
            left_out[objective] = unsampled
        groups.append(
            GroupSpec(
                objective=objective,
                settings=dict(tasks[0].settings),
                share=shares[objective],
                tasks=tuple(
                    TaskSpec(
                        name=task.name,
                        corpus=task.corpus.name,
                        languages=task.languages,
                        rate=weights[task.name],
                        prefix=task.prefix(vocabulary),
                        target_prefix=task.target_prefix(vocabulary),
                        dictionary=dictionary_of(task),
                    )
                    for task in tasks
                    if weights[task.name] > 0
                ),
            )
        )
    return Mixture(
        name=definition.name,
        vocabulary=vocabulary.token_ids,
        groups=tuple(groups),
        left_out=left_out,
        removed_mass=found.removed_mass,
    )


def _weights(
    definition: MixtureDefinition,
    sizes: Mapping[str, CorpusSize],
    *,
    tokens_per_example: Mapping[str, float],
    vocabulary: Vocabulary,
) -> TaskWeights:
    kept = {}
    if definition.max_epochs is not None:
        kept = {
            task.name: _kept_part(task, vocabulary)
            for task in definition.tasks
            if not task.is_parallel
        }
    return task_weights(
        definition,
        sizes=sizes,
        tokens_per_example=tokens_per_example,
        inputs_per_text_token=kept,
    )


def _kept_part(task: TaskDefinition, vocabulary: Vocabulary) -> float:
    """Returns encoder tokens per token of running text."""
    max_inputs, max_targets, piece = text_lengths(task, inputs_length=None, targets_length=None)
    piece = piece or 1
    inputs, _ = mean_lengths(
        task.objective,
        [piece],
        ids=vocabulary.token_ids,
        prefix=(),
        target_prefix=(),
        max_inputs=max_inputs,
        max_targets=max_targets,
        settings=task.settings,
    )
    return float(inputs) / piece
