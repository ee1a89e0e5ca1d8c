"""Definitions of registered tasks and mixtures by name, and what the feed reads of them."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

import seqio

from nmt5.core.errors import ConfigError, DataError, VocabularyError, unknown_name
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.locations import find_store, find_vocabulary
from nmt5.data.mixture import Mixture
from nmt5.data.objectives import find_objective
from nmt5.data.ready_made_tasks import ready_made_task
from nmt5.data.resolution import resolve_definition
from nmt5.data.sources.base import Corpus
from nmt5.data.token_share_mixture import INPUTS_LENGTH, TokenShareMixture
from nmt5.data.vocabulary import Vocabulary

_SETTINGS = {field.name for field in dataclasses.fields(MixtureDefinition)} - {
    "name",
    "tasks",
    "rates",
}


def check_setting_names(settings: Mapping[str, Any], *, where: str) -> None:
    """Raises `ConfigError` for a name that is no setting of a `MixtureDefinition`."""
    for name in settings:
        if name not in _SETTINGS:
            raise ConfigError(f"{where}: {unknown_name('setting', name, _SETTINGS)}")


def task_definition(name: str) -> TaskDefinition:
    """Returns the definition of a registered task.

    A task that the builders here did not make, with preprocessors of its own, is one whose
    ready-made examples `prepare` takes out of SeqIO (`nmt5.data.sources.seqio_task`).

    Raises:
      DataError: no such task.
    """
    if name not in seqio.TaskRegistry.names():
        raise DataError(unknown_name("task", name, seqio.TaskRegistry.names()))
    definition = getattr(seqio.TaskRegistry.get(name).source, "definition", None)
    return definition if isinstance(definition, TaskDefinition) else ready_made_task(name)


def mixture_definition(name: str) -> MixtureDefinition:
    """Returns the definition of a registered mixture, or of a task as a mixture of one.

    A mixture that was registered with plain SeqIO keeps its own rates of examples.

    Raises:
      DataError: no such mixture or task.
    """
    if name in seqio.TaskRegistry.names():
        return MixtureDefinition(name=name, tasks=(task_definition(name),))
    if name not in seqio.MixtureRegistry.names():
        known = {*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()}
        raise DataError(unknown_name("mixture or task", name, known))
    mixture = seqio.MixtureRegistry.get(name)
    if isinstance(mixture, TokenShareMixture):
        return mixture.definition
    tasks = tuple(task_definition(task.name) for task in mixture.tasks)
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    return MixtureDefinition(name=name, tasks=tasks, rates=rates)


def corpora_of(name: str) -> tuple[Corpus, ...]:
    """Returns the corpora that a mixture or task reads, each once, by name.

    Raises:
      DataError: as `mixture_definition`, or two corpora under one name.
    """
    corpora: dict[str, Corpus] = {}
    for task in mixture_definition(name).tasks:
        if corpora.setdefault(task.corpus.name, task.corpus) != task.corpus:
            raise DataError(
                f"mixture '{name}': two different corpora are called '{task.corpus.name}'; rename "
                "one of them"
            )
    return tuple(corpora[name] for name in sorted(corpora))


def resolve(
    name: str,
    *,
    store: os.PathLike | str | None = None,
    vocabulary: Vocabulary | os.PathLike | str | None = None,
    inputs_length: int = INPUTS_LENGTH,
    code_template: str | None = None,
    code_position: str | None = None,
    **changes: Any,
) -> Mixture:
    """Returns everything that the feed needs to know of a registered mixture or task.

    Args:
      name: of the mixture or task.
      store: the store root; None follows the setting.
      vocabulary: the vocabulary that made the store; None follows the tasks' own, or the setting.
      inputs_length: row length by which the rates of a plain SeqIO mixture become shares.
      code_template: instead of the tasks'; "" writes no code.
      code_position: instead of the tasks'.
      **changes: settings of `MixtureDefinition` instead of the registered ones; None keeps those.

    Raises:
      DataError: as `mixture_definition`; corpora that are not in the store or have no text; no
        store is named.
      VocabularyError: no vocabulary, not the store's, or not the one that a task has for itself.
      ConfigError: as `MixtureDefinition`, or an unknown setting.
    """
    definition = changed_definition(
        name, code_template=code_template, code_position=code_position, **changes
    )
    store = find_store(store)
    if store is None:
        raise DataError(
            f"mixture '{name}': no store is named; call nmt5.data.registry.configure(store=PATH) "
            "or set the environment variable NMT5_STORE"
        )
    return resolve_definition(
        definition,
        store=store,
        vocabulary=_vocabulary_of(definition, vocabulary),
        inputs_length=inputs_length,
    )


def changed_definition(
    name: str,
    *,
    code_template: str | None = None,
    code_position: str | None = None,
    **changes: Any,
) -> MixtureDefinition:
    """Returns a registered mixture or task with other settings; arguments as `resolve`."""
    check_setting_names(changes, where=f"mixture '{name}'")
    definition = mixture_definition(name)
    changes = {field: value for field, value in changes.items() if value is not None}
    # Two ways to say one thing: the one that is given now replaces the one that is registered.
    for one, other in (("alpha", "temperature"), ("temperature", "alpha")):
        if one in changes:
            changes.setdefault(other, None)
    if "parallel_share" in changes:
        changes.setdefault("shares", None)
    definition = dataclasses.replace(definition, **changes)
    return definition.with_codes(template=code_template, position=code_position)


def _vocabulary_of(
    definition: MixtureDefinition, given: Vocabulary | os.PathLike | str | None
) -> Vocabulary:
    """Returns the vocabulary of a mixture's tasks, which must be one."""
    own = own_vocabularies(definition)
    if given is None:
        given = next(iter(own.values()), None)
    found = find_vocabulary(given)
    for task, path in own.items():
        if find_vocabulary(path) != found:
            raise VocabularyError(
                f"mixture '{definition.name}': task '{task}' has a vocabulary of its own, {path}, "
                f"but the mixture is resolved with {found.model_path}; a mixture has one "
                "vocabulary: give that path, or register the task without one"
            )
    return found


def own_vocabularies(definition: MixtureDefinition) -> dict[str, str]:
    """Returns `{task: path}` of the tasks that were registered with a vocabulary of their own."""
    paths = {}
    for task in definition.tasks:
        if not find_objective(task.objective).ready_made:  # `prepare` compares theirs
            vocabulary = seqio.TaskRegistry.get(task.name).output_features["targets"].vocabulary
            paths[task.name] = vocabulary.path
    return {task: path for task, path in paths.items() if path}
