"""SeqIO tasks and mixtures over this project's sources, objectives and vocabularies.

The builders below are called from `tasks.py` and `mixtures.py`, here and in other projects. What
they register are ordinary SeqIO providers: `seqio.get_mixture_or_task(name).get_dataset(...)`
gives examples, made by the same objective functions as the training feed's, and T5X takes them.
Training itself reads what `resolve` returns.

The vocabulary and the store are looked for on first use, not on import: an explicit argument, else
`configure`, else the environment variables NMT5_VOCABULARY and NMT5_STORE.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import contextvars
import dataclasses
import functools
import os
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.definitions import LANGUAGE_CODE_TEMPLATE, MixtureDefinition, TaskDefinition
from nmt5.data.locations import configure, find_store, find_vocabulary
from nmt5.data.mixture import Mixture
from nmt5.data.objectives import find_objective
from nmt5.data.resolution import DOCUMENTS_PER_GROUP, example_rates_of, resolve_definition
from nmt5.data.sources.base import Corpus, TextSource
from nmt5.data.spans import fitting_lengths
from nmt5.data.translation_metrics import bleu, chrf
from nmt5.data.vocabulary import BYTES, UNK_ID, Vocabulary

__all__ = [
    "add_mixture",
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

INPUTS_LENGTH = 1024
# t5's span corruption keeps one chunk of longer documents, drawn anew each time.
MAX_DOCUMENT_TOKENS = 65536


class TaskVocabulary(seqio.SentencePieceVocabulary):
    """SeqIO's vocabulary over a file, or bytes, found on first use.

    Sentinels are in the file, as T5X's mT5 files have them, or above it if its path says so. With
    a path of its own it is that path's; without, it follows the setting, also when that changes.
    """

    def __init__(self, path: str | None = None):
        super().__init__(sentencepiece_model_file="", extra_ids=0)
        self.path = path

    def found(self) -> Vocabulary:
        """Returns the vocabulary that this stands for now."""
        return find_vocabulary(self.path)

    def _model_context(self):
        found = self.found()
        if (found.model_path, found.extra_ids) != (self._sentencepiece_model_file, self._extra_ids):
            self._sentencepiece_model_file, self._model = found.model_path, None
            self._extra_ids = found.extra_ids
        return super()._model_context()

    @property
    def sentencepiece_model_file(self) -> str:
        """The model file's path."""
        return self.found().model_path

    @property
    def eos_id(self) -> int:
        """The id of the end of a sequence."""
        return self.found().token_ids.eos

    @property
    def unk_id(self) -> int:
        """The id of what the vocabulary cannot write."""
        return UNK_ID

    @property
    def _base_vocab_size(self) -> int:
        return self.found().token_ids.size

    def _encode(self, s):
        return _BYTES._encode(s) if self._is_bytes() else super()._encode(s)

    def _decode(self, ids):
        return _BYTES._decode(ids) if self._is_bytes() else super()._decode(ids)

    def _encode_tf(self, s):
        return _BYTES._encode_tf(s) if self._is_bytes() else super()._encode_tf(s)

    def _decode_tf(self, ids):
        return _BYTES._decode_tf(ids) if self._is_bytes() else super()._decode_tf(ids)

    def _is_bytes(self) -> bool:
        return self.found().model_path == BYTES

    def __getstate__(self):
        return super().__getstate__() | {"_sentencepiece_model_file": "", "_extra_ids": 0}

    def __eq__(self, other):
        if isinstance(other, TaskVocabulary):
            return self.path == other.path or self.found() == other.found()
        if isinstance(other, seqio.SentencePieceVocabulary) and not self._is_bytes():
            same_sentinels = other.extra_ids == self.found().extra_ids
            return same_sentinels and other.sp_model == self.sp_model
        return False

    __hash__ = None


# ByT5's tasks have it without extra ids.
_BYTES = seqio.ByteVocabulary()


class TextDataSource(seqio.DataSource):
    """A `TextSource` as SeqIO sees it: strings under the names of the languages."""

    def __init__(self, definition: TaskDefinition):
        super().__init__(splits=definition.corpus.source.splits(), caching_permitted=False)
        self.definition = definition

    @property
    def source(self) -> TextSource:
        """The text source."""
        return self.definition.corpus.source

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """Shards are the source's own."""
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns the source's shards."""
        return self.source.shards(split)

    def get_dataset(
        self, split="train", shuffle=True, seed=None, shard_info=None, **unused
    ) -> tf.data.Dataset:
        """Returns `{language: text}` in the source's order; shuffling is of shards."""
        del unused  # SeqIO offers lengths and epochs too; the task sees to both
        shards = list(self.list_shards(split))
        if shard_info:
            shards = shards[shard_info.index :: shard_info.num_shards]
        if shuffle:
            np.random.default_rng(seed).shuffle(shards)

        def examples():
            for shard in shards:
                yield from self.source.read(split, shard, Counter())

        signature = {name: tf.TensorSpec((), tf.string) for name in self.source.languages}
        return tf.data.Dataset.from_generator(examples, output_signature=signature)


def segments_of_documents(dataset: tf.data.Dataset, *, segment_tokens: int) -> tf.data.Dataset:
    """Cuts documents' `targets` into segments as t5 does before it corrupts them.

    A document of more than 65,536 tokens gives one of its chunks; 128 documents are concatenated
    without a separator and cut, the last piece of them may be shorter.

    Source: `select_random_chunk`, `reduce_concat_tokens` and `split_tokens` of t5 0.9.4,
    https://github.com/google-research/text-to-text-transfer-transformer `t5/data/preprocessors.py`
    """

    @functools.partial(seqio.map_over_dataset, num_seeds=1)
    def one_chunk(example, seed):
        tokens = example["targets"]
        num_chunks = tf.maximum(1, -(-tf.size(tokens) // MAX_DOCUMENT_TOKENS))
        chunk = tf.random.stateless_uniform((), seed, maxval=num_chunks, dtype=tf.int32)
        begin = chunk * MAX_DOCUMENT_TOKENS
        return tokens[begin : begin + MAX_DOCUMENT_TOKENS]

    def cut(documents):
        tokens = documents.flat_values
        num_segments = -(-tf.size(tokens) // segment_tokens)
        ends = tf.minimum(tf.range(1, num_segments + 1) * segment_tokens, tf.size(tokens))
        starts = tf.range(num_segments) * segment_tokens
        ragged = tf.RaggedTensor.from_row_lengths(tokens, ends - starts)
        return tf.data.Dataset.from_tensor_slices(ragged)

    dataset = dataset.filter(lambda example: tf.size(example["targets"]) > 0)
    dataset = one_chunk(dataset).ragged_batch(DOCUMENTS_PER_GROUP)
    return dataset.flat_map(cut).map(lambda segment: {"targets": segment})


def make_examples(
    dataset: tf.data.Dataset,
    *,
    definition: TaskDefinition,
    output_features: Mapping[str, seqio.Feature],
    sequence_length: Mapping[str, int] | None = None,
) -> tf.data.Dataset:
    """Applies a task's objective to tokenised text: a shell over the NumPy function.

    Args:
      dataset: `inputs` and `targets` of pairs, `targets` of documents, as token ids without EOS.
      definition: the task.
      output_features: give the vocabulary.
      sequence_length: longest `inputs` and `targets`, EOS counted. Where None: 1,024 inputs and
        what they need of targets for documents, no limit for pairs.
    """
    vocabulary = output_features["targets"].vocabulary.found()
    no_limit = 1 << 30 if definition.is_parallel else None
    lengths = sequence_length or {}
    max_inputs = lengths.get("inputs") or no_limit or INPUTS_LENGTH
    max_targets = lengths.get("targets") or no_limit
    if not definition.is_parallel:
        fitting = fitting_lengths(max_inputs, targets_length=max_targets, **definition.settings)
        max_targets = max_targets or fitting.targets
        dataset = segments_of_documents(dataset, segment_tokens=fitting.raw)
    objective = find_objective(definition.objective)
    prefix, ids = definition.prefix(vocabulary), vocabulary.token_ids

    def apply(seed, *segments):
        example = objective(
            tuple(segments),
            np.random.default_rng(seed.astype(np.uint64)),
            ids=ids,
            prefix=prefix,
            max_inputs=max_inputs,
            max_targets=max_targets,
            **definition.settings,
        )
        return example.inputs, example.targets

    names = ("inputs", "targets") if definition.is_parallel else ("targets",)

    @functools.partial(seqio.map_over_dataset, num_seeds=1)
    def shell(example, seed):
        segments = [example[name] for name in names]
        made = tf.numpy_function(
            apply, [tf.stack(seed), *segments], (tf.int32, tf.int32), stateful=False
        )
        for name, values in zip(("inputs", "targets"), made, strict=True):
            example[name] = tf.ensure_shape(values, (None,))
        return example

    return shell(dataset)


def add_span_corruption_task(
    name: str,
    corpus: Corpus,
    *,
    settings: Mapping[str, Any] | None = None,
    vocabulary: os.PathLike | str | None = None,
) -> seqio.Task:
    """Registers masked language modelling on a monolingual corpus, as mT5's tasks do it.

    Args:
      name: the task's name; letters, digits, '_', '.', ':' and '#'.
      corpus: monolingual text.
      settings: `noise_density` and `mean_span_tokens`, if not mT5's 0.15 and 3.
      vocabulary: path of a vocabulary of this task's own; None follows the setting.

    Raises:
      ConfigError: a corpus of pairs, or a name that is taken or malformed.
    """
    definition = TaskDefinition(
        name=name,
        corpus=corpus,
        objective="span_corruption",
        languages=corpus.source.languages,
        settings=dict(settings or {}),
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
    code_template: str | None = LANGUAGE_CODE_TEMPLATE,
    vocabulary: os.PathLike | str | None = None,
) -> seqio.Task:
    """Registers one direction of a parallel corpus under one of the paper's objectives.

    Args:
      name: the task's name; letters, digits, '_', '.', ':' and '#'.
      corpus: pairs of the two languages, in either order.
      source_language: what is read.
      target_language: what is written.
      objective: a name of `nmt5.data.objectives.OBJECTIVES` that takes pairs.
      settings: keyword arguments of the objective, if not its defaults.
      code_template: text before the inputs that names the target `{language}`; None, or an
        objective that names no language (TLM), writes none.
      vocabulary: path of a vocabulary of this task's own; None follows the setting.

    Raises:
      ConfigError: languages that the corpus does not hold, an unknown objective, or a name that is
        taken or malformed.
    """
    definition = TaskDefinition(
        name=name,
        corpus=corpus,
        objective=objective,
        languages=(source_language, target_language),
        settings=dict(settings or {}),
        code_template=code_template if find_objective(objective).language_code else None,
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
            metric_fns=list(metric_fns),
        )
    except ValueError as error:
        raise ConfigError(f"task '{definition.name}': {error}") from error


def feature(vocabulary: os.PathLike | str | None = None) -> seqio.Feature:
    """Returns an output feature over a vocabulary's path, or None for the one that is set."""
    path = None if vocabulary is None else os.fspath(vocabulary)
    return seqio.Feature(vocabulary=_task_vocabulary(path), add_eos=True)


@functools.cache
def _task_vocabulary(path: str | None) -> TaskVocabulary:
    return TaskVocabulary(path)


class TokenShareMixture(seqio.Mixture):
    """A mixture whose rates of examples give parallel text its share of encoder tokens.

    Rates depend on how long examples are, hence on the `sequence_length` that is asked for; they
    are worked out when the first dataset of that length is.
    """

    def __init__(self, name: str, tasks, *, definition: MixtureDefinition, **kwargs):
        kwargs["default_rate"] = self._rate
        super().__init__(name, tasks, **kwargs)
        self.definition = definition
        self._rates: dict[Any, dict[str, float]] = {}

    def get_dataset(self, sequence_length=None, *args, **kwargs) -> tf.data.Dataset:
        """As `seqio.Mixture.get_dataset`."""
        token = _lengths.set(dict(sequence_length or {}))
        try:
            return super().get_dataset(sequence_length, *args, **kwargs)
        finally:
            _lengths.reset(token)

    def _rate(self, task: seqio.Task) -> float:
        vocabulary = task.output_features["targets"].vocabulary.found()
        lengths, store = _lengths.get() or {}, find_store()
        key = (vocabulary.fingerprint, store, *sorted(lengths.items()))
        if key not in self._rates:
            self._rates[key] = example_rates_of(
                self.definition,
                store=store,
                vocabulary=vocabulary,
                inputs_length=lengths.get("inputs") or INPUTS_LENGTH,
                targets_length=lengths.get("targets"),
            )
        return self._rates[key][task.name]


# What the dataset under construction was asked for; SeqIO tells rate functions the task alone.
_lengths: contextvars.ContextVar[Mapping[str, int] | None] = contextvars.ContextVar(
    "lengths", default=None
)


def add_mixture(
    name: str,
    tasks: Sequence[str],
    *,
    alpha: float = 0.3,
    parallel_share: float = 0.1,
    max_epochs: float | None = None,
    budget_tokens: float | None = None,
) -> seqio.Mixture:
    """Registers a mixture of tasks that the builders above made.

    Args:
      name: the mixture's name.
      tasks: names of registered tasks.
      alpha: languages, and directions of pairs, are drawn in proportion to examples^alpha.
      parallel_share: part of all encoder tokens that parallel tasks supply.
      max_epochs: most passes over a task's text in a run of `budget_tokens`; alpha 0 and this are
        UniMax.
      budget_tokens: encoder tokens of the whole run.

    Raises:
      ConfigError: a value out of range, or a name that is taken.
      DataError: an unknown task, or one made by other means.
    """
    definition = MixtureDefinition(
        name=name,
        tasks=tuple(map(task_definition, tasks)),
        alpha=alpha,
        parallel_share=parallel_share,
        max_epochs=max_epochs,
        budget_tokens=budget_tokens,
    )
    definition.groups()  # settings that contradict each other show here
    try:
        return seqio.MixtureRegistry.add(
            name, list(tasks), mixture_cls=TokenShareMixture, definition=definition
        )
    except ValueError as error:
        raise ConfigError(f"mixture '{name}': {error}") from error


def task_definition(name: str) -> TaskDefinition:
    """Returns the definition of a registered task.

    Raises:
      DataError: no such task, or a task that the builders here did not make.
    """
    if name not in seqio.TaskRegistry.names():
        raise DataError(unknown_name("task", name, seqio.TaskRegistry.names()))
    definition = getattr(seqio.TaskRegistry.get(name).source, "definition", None)
    if not isinstance(definition, TaskDefinition):
        raise DataError(
            f"task '{name}' was not made by nmt5.data.registry, so its text cannot be prepared; "
            "register its text with add_span_corruption_task or add_parallel_task"
        )
    return definition


def mixture_definition(name: str) -> MixtureDefinition:
    """Returns the definition of a registered mixture, or of a task as a mixture of one.

    A mixture that was registered with plain SeqIO keeps its own rates of examples.

    Raises:
      DataError: no such mixture or task, or a member that the builders here did not make.
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
    parallel_share: float | None = None,
    alpha: float | None = None,
    max_epochs: float | None = None,
    budget_tokens: float | None = None,
    inputs_length: int = INPUTS_LENGTH,
) -> Mixture:
    """Returns everything that the feed needs to know of a registered mixture or task.

    Args:
      name: of the mixture or task.
      store: the store root; None follows the setting.
      vocabulary: the vocabulary that made the store; None follows the setting.
      parallel_share: instead of the registered one.
      alpha: instead of the registered one.
      max_epochs: instead of the registered one.
      budget_tokens: instead of the registered one.
      inputs_length: row length by which the rates of a plain SeqIO mixture become shares.

    Raises:
      DataError: as `mixture_definition`; corpora that are not in the store or have no text; no
        store is named.
      VocabularyError: no vocabulary, or not the store's.
    """
    definition = mixture_definition(name)
    changes = {
        "parallel_share": parallel_share,
        "alpha": alpha,
        "max_epochs": max_epochs,
        "budget_tokens": budget_tokens,
    }
    changes = {field: value for field, value in changes.items() if value is not None}
    store = find_store(store)
    if store is None:
        raise DataError(
            f"mixture '{name}': no store is named; call nmt5.data.registry.configure(store=PATH) "
            "or set the environment variable NMT5_STORE"
        )
    return resolve_definition(
        dataclasses.replace(definition, **changes),
        store=store,
        vocabulary=find_vocabulary(vocabulary),
        inputs_length=inputs_length,
    )
