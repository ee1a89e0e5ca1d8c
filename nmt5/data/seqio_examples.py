"""Sources and objectives as SeqIO takes them.

One preprocessor serves every objective: a shell over the same function that the feed calls.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import functools

import numpy as np
import seqio
import tensorflow as tf

from nmt5.data.definitions import TaskDefinition
from nmt5.data.dictionaries import encoded
from nmt5.data.objectives import find_objective
from nmt5.data.resolution import DOCUMENTS_PER_GROUP, text_lengths
from nmt5.data.sources.base import TextSource

# t5's span corruption keeps one chunk of longer documents, drawn anew each time.
MAX_DOCUMENT_TOKENS = 65536


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
    lengths = sequence_length or {}
    max_inputs, max_targets, piece = text_lengths(
        definition,
        inputs_length=lengths.get("inputs"),
        targets_length=lengths.get("targets"),
    )
    if piece is not None:
        dataset = segments_of_documents(dataset, segment_tokens=piece)
    objective = find_objective(definition.objective)
    fixed = {
        "ids": vocabulary.token_ids,
        "prefix": definition.prefix(vocabulary),
        "target_prefix": definition.target_prefix(vocabulary),
        "dictionary": encoded(definition.dictionary, vocabulary) if definition.dictionary else None,
        "max_inputs": max_inputs,
        "max_targets": max_targets,
        **definition.settings,
    }

    def apply(seed, *segments):
        rng = np.random.default_rng(seed.astype(np.uint64))
        example = objective(tuple(segments), rng, **fixed)
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
