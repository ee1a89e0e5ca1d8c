"""SeqIO tasks and mixtures over this project's sources, objectives and vocabularies.

The builders below are called from `tasks.py` and `mixtures.py`, here and in other projects. What
they register are ordinary SeqIO providers: `seqio.get_mixture_or_task(name).get_dataset(...)`
gives examples, made by the same objective functions as the training feed's, and T5X takes them.
Training itself reads what `resolve` returns.

The vocabulary and the store are looked for on first use, not on import: an explicit argument, else
`configure`, else the environment variables NMT5_VOCABULARY and NMT5_STORE.
"""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any

import seqio

from nmt5.core.errors import ConfigError
from nmt5.core.language_codes import CODE_TEMPLATE, SOURCE
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.dictionaries import Dictionary
from nmt5.data.locations import configure, find_store, find_vocabulary
from nmt5.data.registered import (
    changed_definition,
    check_setting_names,
    corpora_of,
    mixture_definition,
    own_vocabularies,
    resolve,
    task_definition,
)
from nmt5.data.seqio_examples import TextDataSource, make_examples
from nmt5.data.sources.base import Corpus
from nmt5.data.task_vocabulary import TaskVocabulary, feature
from nmt5.data.token_share_mixture import TokenShareMixture
from nmt5.data.translation_metrics import bleu, chrf

__all__ = [
    "TaskVocabulary",
    "add_mixture",
    "add_monolingual_task",
    "add_parallel_task",
    "add_span_corruption_task",
    "changed_definition",
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
    if definition.name in seqio.TaskRegistry.names():
        raise ConfigError(f"task '{definition.name}': it is registered already; use another name")
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
    check_setting_names(settings, where=f"mixture '{name}'")
    definition = MixtureDefinition(name=name, tasks=tuple(map(task_definition, tasks)), **settings)
    definition.groups()  # settings that contradict each other show here
    if name in seqio.MixtureRegistry.names():
        raise ConfigError(f"mixture '{name}': it is registered already; use another name")
    if len(paths := sorted(set(own_vocabularies(definition).values()))) > 1:
        raise ConfigError(
            f"mixture '{name}': its tasks have {len(paths)} vocabularies of their own: "
            f"{', '.join(paths)}; a mixture has one"
        )
    try:
        return seqio.MixtureRegistry.add(
            name, list(tasks), mixture_cls=TokenShareMixture, definition=definition
        )
    except ValueError as error:
        raise ConfigError(f"mixture '{name}': {error}") from error
