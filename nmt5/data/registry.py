"""SeqIO tasks and mixtures over this project's sources, objectives and vocabularies.

The builders below are called from `tasks.py` and `mixtures.py`, here and in other projects. What
they register are ordinary SeqIO providers: `seqio.get_mixture_or_task(name).get_dataset(...)`
gives examples, made by the same objective functions as the training feed's, and T5X takes them.
Training itself reads what `resolve` returns.

The vocabulary and the store are looked for on first use, not on import: an explicit argument, else
`configure`, else the environment variables NMT5_VOCABULARY and NMT5_STORE.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

import seqio

from nmt5.core.errors import ConfigError, DataError, VocabularyError, unknown_name
from nmt5.data.definitions import CODE_TEMPLATE, SOURCE, MixtureDefinition, TaskDefinition
from nmt5.data.dictionaries import Dictionary
from nmt5.data.locations import configure, find_store, find_vocabulary
from nmt5.data.mixture import Mixture
from nmt5.data.objectives import find_objective
from nmt5.data.ready_made_tasks import ready_made_task
from nmt5.data.resolution import resolve_definition
from nmt5.data.seqio_examples import TextDataSource, make_examples
from nmt5.data.sources.base import Corpus
from nmt5.data.task_vocabulary import TaskVocabulary, feature
from nmt5.data.token_share_mixture import INPUTS_LENGTH, TokenShareMixture
from nmt5.data.translation_metrics import bleu, chrf
from nmt5.data.vocabulary import Vocabulary

__all__ = [
    "TaskVocabulary",
    "add_mixture",
    "add_monolingual_task",
    "add_parallel_task",
    "add_span_corruption_task",
    "configure",
    "corpora_of",
    "feature",
    "find_store",
    "find_vocabulary",
    "mixture_definition",
    "resolve",
    "task_definition",
]


def add_span_corruption_task(
    name: str,
    corpus: Corpus,
    *,
    settings: Mapping[str, Any] | None = None,
    vocabulary: os.PathLike | str | None = None,
) -> seqio.Task:
    """Registers masked language modelling as mT5's tasks do it; see `add_monolingual_task`."""
    return add_monolingual_task(name, corpus, settings=settings, vocabulary=vocabulary)


def add_monolingual_task(
    name: str,
    corpus: Corpus,
    *,
    objective: str = "span_corruption",
    settings: Mapping[str, Any] | None = None,
    dictionary: Dictionary | None = None,
    vocabulary: os.PathLike | str | None = None,
) -> seqio.Task:
    """Registers an objective on running text.

    Args:
      name: the task's name; letters, digits, '_', '.', ':' and '#'.
      corpus: monolingual text.
      objective: a name of `nmt5.data.objectives.OBJECTIVES` that takes one text.
      settings: keyword arguments of the objective, if not its defaults.
      dictionary: words of the corpus's language, for an objective that replaces words.
      vocabulary: path of a vocabulary of this task's own; None follows the setting.

    Raises:
      ConfigError: as `TaskDefinition`, or a name that is taken or malformed.
    """
    definition = TaskDefinition(
        name=name,
        corpus=corpus,
        objective=objective,
        languages=corpus.source.languages,
        settings=dict(settings or {}),
        dictionary=dictionary,
    )
    return _add_task(definition, vocabulary, key_map={"targets": definition.languages[0]})


def add_parallel_task(
    name: str,
    corpus: Corpus,
    *,
    source_language: str,
    target_language: str,
    objective: str = "nmt",
    settings: Mapping[str, Any] | None = None,
    code_template: str | None = CODE_TEMPLATE,
    code_position: str = SOURCE,
    dictionary: Dictionary | None = None,
    vocabulary: os.PathLike | str | None = None,
) -> seqio.Task:
    """Registers one direction of a parallel corpus under an objective for pairs.

    Args:
      name: the task's name; letters, digits, '_', '.', ':' and '#'.
      corpus: pairs of the two languages, in either order.
      source_language: what is read.
      target_language: what is written.
      objective: a name of `nmt5.data.objectives.OBJECTIVES` that takes pairs.
      settings: keyword arguments of the objective, if not its defaults.
      code_template: text that names the target `{language}`; None, or an objective that names no
        language (TLM), writes none.
      code_position: "source", before the inputs, or "decoder", at the start of the targets.
      dictionary: words of the source's language, for an objective that replaces words.
      vocabulary: path of a vocabulary of this task's own; None follows the setting.

    Raises:
      ConfigError: as `TaskDefinition`, an unknown objective, or a name that is taken or malformed.
    """
    definition = TaskDefinition(
        name=name,
        corpus=corpus,
        objective=objective,
        languages=(source_language, target_language),
        settings=dict(settings or {}),
        code_template=code_template,
        code_position=code_position,
        dictionary=dictionary,
    )
    key_map = {"inputs": source_language, "targets": target_language}
    metrics = (
        [functools.partial(bleu, language=target_language), chrf] if objective == "nmt" else []
    )
    return _add_task(definition, vocabulary, key_map=key_map, metric_fns=metrics)


def _add_task(definition, vocabulary, *, key_map, metric_fns=()) -> seqio.Task:
    try:
        return seqio.TaskRegistry.add(
            definition.name,
            source=TextDataSource(definition),
            output_features={"inputs": feature(vocabulary), "targets": feature(vocabulary)},
            preprocessors=[
                functools.partial(seqio.preprocessors.rekey, key_map=key_map),
                functools.partial(
                    seqio.preprocessors.tokenize, copy_pretokenized=definition.is_parallel
                ),
                functools.partial(make_examples, definition=definition),
            ],
            postprocess_fn=functools.partial(_without_code, code=definition.code.strip()),
            metric_fns=list(metric_fns),
        )
    except ValueError as error:
        raise ConfigError(f"task '{definition.name}': {error}") from error


def _without_code(output, *, code: str, **of_seqio):
    """Returns a prediction without the code that it begins with where that is the decoder's."""
    del of_seqio
    if not code or not isinstance(output, str):
        return output
    return output.strip().removeprefix(code).strip()


def add_mixture(name: str, tasks: Sequence[str], **settings: Any) -> seqio.Mixture:
    """Registers a mixture of tasks, of the builders above or of anybody else's.

    Args:
      name: the mixture's name.
      tasks: names of registered tasks.
      **settings: `alpha`, `parallel_share` and the others of `MixtureDefinition`.

    Raises:
      ConfigError: as `MixtureDefinition`, an unknown setting, or a name that is taken.
      DataError: an unknown task.
    """
    _check_names(settings, where=f"mixture '{name}'")
    definition = MixtureDefinition(name=name, tasks=tuple(map(task_definition, tasks)), **settings)
    definition.groups()  # settings that contradict each other show here
    try:
        return seqio.MixtureRegistry.add(
            name, list(tasks), mixture_cls=TokenShareMixture, definition=definition
        )
    except ValueError as error:
        raise ConfigError(f"mixture '{name}': {error}") from error


_SETTINGS = {field.name for field in dataclasses.fields(MixtureDefinition)} - {
    "name",
    "tasks",
    "rates",
}


def _check_names(settings: Mapping[str, Any], *, where: str) -> None:
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
    _check_names(changes, where=f"mixture '{name}'")
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
    own = {
        task.name: seqio.TaskRegistry.get(task.name).output_features["targets"].vocabulary.path
        for task in definition.tasks
        if not find_objective(task.objective).ready_made  # `prepare` compares theirs
    }
    if given is None:
        given = next((path for path in own.values() if path), None)
    found = find_vocabulary(given)
    for task, path in own.items():
        if path and find_vocabulary(path) != found:
            raise VocabularyError(
                f"mixture '{definition.name}': task '{task}' has a vocabulary of its own, {path}, "
                f"but the mixture is resolved with {found.model_path}; a mixture has one "
                "vocabulary: give that path, or register the task without one"
            )
    return found
