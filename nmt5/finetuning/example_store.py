"""Examples of a task as a store of token ids, so that the ordinary feed packs and serves them.

    <directory>/<part>/corpus.json, *.arrayrecord   one corpus per part; the record is (inputs,
                                                    targets), without end of sequence
    <directory>/mixture.json                        all parts at equal rates; written last

A split "validation" beside the first part's training text holds examples to watch the loss on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import os

from array_record.python import array_record_module
from etils import epath
import numpy as np

from nmt5.core.errors import DataError, StorageError
from nmt5.core.files import storage_faults
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, read_mixture, write_mixture
from nmt5.data.store import (
    PAIR_WRITER_OPTIONS,
    CorpusInfo,
    ShardInfo,
    SplitInfo,
    corpus_directory,
    encode_record,
    file_sha256,
    read_corpus_info,
    write_corpus_info,
)
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.token_examples import input_ids, target_ids

MIXTURE = "mixture.json"
OBJECTIVE = "text_to_text"
TRAIN, VALIDATION = "train", "validation"
# A record's two sequences, in the place where other corpora have two languages.
SIDES = ("inputs", "targets")
_ENCODED_TOGETHER = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowLengths:
    """Encoder and decoder tokens of a row."""

    inputs: int
    targets: int


def write_examples(
    directory: os.PathLike | str,
    *,
    name: str,
    train: Mapping[str, Iterable[TextExample]],
    watched: Iterable[TextExample] = (),
    vocabulary: Vocabulary,
) -> Mixture:
    """Writes the examples of a task, or returns the mixture that an earlier call left.

    Args:
      directory: of this task alone.
      name: of the mixture.
      train: examples by name of the part; a name must be fit for a directory.
      watched: examples whose loss is logged during training.
      vocabulary: makes the ids.

    Raises:
      DataError: a part without examples, or a mixture there that another vocabulary made.
      StorageError: it cannot be written.
    """
    path = epath.Path(directory) / MIXTURE
    if path.exists():
        mixture = read_mixture(path)
        if mixture.vocabulary != vocabulary.token_ids:
            raise DataError(
                f"fine-tuning: {directory} holds examples of another vocabulary; choose another "
                "directory, or remove it"
            )
        return mixture
    for number, (part, examples) in enumerate(train.items()):
        splits = {TRAIN: examples} | ({VALIDATION: watched} if number == 0 else {})
        _write_corpus(directory, part, splits, vocabulary=vocabulary)
    tasks = tuple(TaskSpec(name=part, corpus=part, languages=SIDES, rate=1.0) for part in train)
    group = GroupSpec(objective=OBJECTIVE, settings={}, share=1.0, tasks=tasks)
    mixture = Mixture(name=name, vocabulary=vocabulary.token_ids, groups=(group,))
    write_mixture(mixture, path)
    return mixture


def has_watched(directory: os.PathLike | str, mixture: Mixture) -> bool:
    """Returns whether there are examples to watch the loss on."""
    first = read_corpus_info(directory, mixture.groups[0].tasks[0].corpus)
    return first.splits[VALIDATION].num_records > 0


def fitting_rows(
    directory: os.PathLike | str, mixture: Mixture, *, inputs_length: int, targets_limit: int
) -> RowLengths:
    """Returns row lengths that the examples fill on both sides alike.

    The decoder side is as much shorter than the encoder side as targets are shorter than inputs,
    and some more, since packing must fit both; but it holds the longest target.

    Args:
      directory: of `write_examples`.
      mixture: what it returned.
      inputs_length: encoder tokens of a row.
      targets_limit: longest target, end of sequence counted; longer ones are cut.

    Returns:
      The lengths; that of targets is a multiple of 8.
    """
    inputs = targets = examples = longest = 0
    for task in mixture.groups[0].tasks:
        split = read_corpus_info(directory, task.corpus).splits[TRAIN]
        inputs += min(split.tokens["inputs"], inputs_length * split.examples)
        targets += split.tokens["targets"]
        examples += split.examples
        longest = max(longest, *map(int, split.lengths["targets"]))
    fair = inputs_length * (targets + examples) / (inputs + examples)
    wanted = max(1.2 * fair, min(longest + 1, targets_limit), 8)
    return RowLengths(inputs=inputs_length, targets=-(-int(np.ceil(wanted)) // 8) * 8)


def taking_turns(parts: Sequence[Iterable[TextExample]], *, limit: int) -> list[TextExample]:
    """Returns the first examples of all parts, one of each part in turn.

    >>> from nmt5.evaluation.text_to_answer.text_example import one_answer
    >>> a, b, c = (one_answer(name, "", "") for name in "abc")
    >>> [one.id for one in taking_turns([[a, b], [c]], limit=2)]
    ['a', 'c']
    """
    rounds = itertools.zip_longest(*parts)
    turns = (one for some in rounds for one in some if one is not None)
    return list(itertools.islice(turns, limit))


def _write_corpus(
    root: os.PathLike | str,
    part: str,
    splits: Mapping[str, Iterable[TextExample]],
    *,
    vocabulary: Vocabulary,
) -> None:
    directory = corpus_directory(root, part)
    with storage_faults("writing examples", directory):
        if directory.exists():  # half written by a process that was killed
            directory.rmtree()
        directory.mkdir(parents=True)
    infos = {}
    for split, examples in splits.items():
        infos[split] = _write_split(directory, split, examples, vocabulary)
        if split == TRAIN and not infos[split].examples:
            raise DataError(
                f"fine-tuning: part '{part}' has no training example; choose another split or "
                "setting"
            )
    write_corpus_info(
        root,
        CorpusInfo(
            name=part,
            languages=SIDES,
            vocabulary=vocabulary.fingerprint,
            vocabulary_size=vocabulary.token_ids.size,
            segment_tokens=None,
            source="examples of a task",
            splits=infos,
        ),
    )


def _write_split(
    directory: epath.Path, split: str, examples: Iterable[TextExample], vocabulary: Vocabulary
) -> SplitInfo:
    path = directory / f"{split}-00000-of-00001.arrayrecord"
    tokens: dict[str, int] = dict.fromkeys(SIDES, 0)
    lengths: dict[str, dict[str, int]] = {side: {} for side in SIDES}
    number = 0
    try:
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), PAIR_WRITER_OPTIONS)
        try:
            for pair in _encoded(examples, vocabulary):
                writer.write(encode_record([np.array(ids, np.int32) for ids in pair]))
                number += 1
                for side, ids in zip(SIDES, pair, strict=True):
                    tokens[side] += len(ids)
                    # The exact length, where others have a power of two.
                    key = str(len(ids))
                    lengths[side][key] = lengths[side].get(key, 0) + 1
        finally:
            writer.close()
    except RuntimeError as error:  # what Riegeli's bindings raise, most often for want of space
        raise StorageError(f"writing examples: {path}: {error}") from error
    shard = ShardInfo(file=path.name, num_records=number, sha256=file_sha256(path))
    return SplitInfo(
        num_records=number,
        examples=number,
        tokens=tokens,
        dropped={},
        cut=0,
        lengths=lengths,
        shards=(shard,),
    )


def _encoded(
    examples: Iterable[TextExample], vocabulary: Vocabulary
) -> Iterator[tuple[list[int], list[int]]]:
    iterator = iter(examples)
    while some := list(itertools.islice(iterator, _ENCODED_TOGETHER)):
        yield from zip(input_ids(some, vocabulary), target_ids(some, vocabulary), strict=True)
