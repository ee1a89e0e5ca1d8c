"""The groups of a mixture over their store: every task's text opened and checked."""

from collections.abc import Iterator, Sequence
import dataclasses
import os
import resource

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.examples import (
    ExampleMaker,
    GroupExamples,
    Segments,
    TaskReader,
    check_vocabulary,
)
from nmt5.data.layout import DataConfig, RowLayout
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds
from nmt5.data.objectives import find_objective
from nmt5.data.store import CorpusInfo, OpenFiles, StoredSplit, open_split, read_corpus_info
from nmt5.data.token_dictionary import read_dictionary

# An open reader takes a few kB, opening one 90 us: with 1,500 corpora and Zipf weights, 128 files
# gave 7,100 examples/s where 4,000 gave 9,400.
_MOST_OPEN_FILES = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenedGroup:
    """A group of tasks whose text can be read.

    Attributes:
      group: the group.
      row: its rows.
      readers: a `TaskReader` per task.
      make: makes examples of their records.
    """

    group: GroupSpec
    row: RowLayout
    readers: Sequence[TaskReader]
    make: ExampleMaker

    def examples(self, *, seed: int) -> GroupExamples:
        """Returns its examples by number, in the order and with the noise of a seed."""
        return GroupExamples(self.group, readers=self.readers, make=self.make, seed=seed)


def open_groups(
    mixture: Mixture,
    config: DataConfig,
    layout: dict[str, RowLayout],
    *,
    split: str,
    groups: Sequence[GroupSpec] | None = None,
    infos: dict[str, CorpusInfo] | None = None,
) -> Iterator[OpenedGroup]:
    """Yields the groups, each opened when it is asked for; they share their open files.

    Args:
      mixture: the resolved mixture.
      config: names the store, and how many files may be open.
      layout: `{objective: its rows}`.
      split: name of the split.
      groups: instead of all groups of the mixture, these.
      infos: corpus descriptions that were read already; more are added.

    Raises:
      DataError: tasks without corpus, split or records, or of other languages; all are listed.
      VocabularyError: a corpus was made with another vocabulary.
      ConfigError: an objective needs another number of languages, or a dictionary.
    """
    infos = {} if infos is None else infos
    open_files = shared_open_files(config.open_files)
    for group in mixture.groups if groups is None else groups:
        row = layout[group.objective]
        readers = _open_readers(
            group,
            mixture=mixture.name,
            ids=mixture.vocabulary,
            store=config.store,
            split=split,
            segment_tokens=row.raw_segment,
            infos=infos,
            open_files=open_files,
        )
        make = ExampleMaker(
            group,
            ids=mixture.vocabulary,
            inputs_length=row.inputs_length,
            targets_length=row.targets_length,
        )
        yield OpenedGroup(group=group, row=row, readers=readers, make=make)


def shared_open_files(limit: int | None) -> OpenFiles:
    """Returns the readers that the groups of a feed share.

    Args:
      limit: most shards open at a time; None takes half of what the system allows.
    """
    if limit is None:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = _MOST_OPEN_FILES
        if allowed != resource.RLIM_INFINITY:
            limit = max(min(limit, allowed // 2), 1)
    return OpenFiles(limit)


def _open_readers(
    group: GroupSpec,
    *,
    mixture: str,
    ids: TokenIds,
    store: os.PathLike | str,
    split: str,
    segment_tokens: int | None,
    infos: dict[str, CorpusInfo],
    open_files: OpenFiles,
) -> list[TaskReader]:
    """Returns a reader per task, in order; raises as `open_groups`."""
    objective = find_objective(group.objective)
    readers, faults = [], []
    for task in group.tasks:
        if len(task.languages) != objective.num_languages:
            raise ConfigError(
                f"mixture '{mixture}': task '{task.name}' has languages {list(task.languages)}, "
                f"objective '{group.objective}' takes {objective.num_languages}; move the task to "
                "another group"
            )
        if objective.replaces_words and task.dictionary is None:
            raise ConfigError(
                f"mixture '{mixture}': task '{task.name}' names no dictionary, but objective "
                f"'{group.objective}' replaces words; register it with one and resolve again"
            )
        try:
            info = infos.get(task.corpus)
            if info is None:
                info = infos[task.corpus] = read_corpus_info(store, task.corpus)
            check_vocabulary(info, ids=ids, mixture=mixture, task=task.name)
            records = open_split(store, task.corpus, split, open_files=open_files, info=info)
            reader = _task_reader(task, records, info, segment_tokens=segment_tokens)
            if task.dictionary is not None:
                words = read_dictionary(store, task.dictionary, vocabulary=ids.fingerprint)
                reader = dataclasses.replace(reader, dictionary=words)
            readers.append(reader)
        except DataError as error:
            faults.append(f"task '{task.name}': {error}")
    if faults:
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise DataError(
            f"mixture '{mixture}': {len(faults)} of {len(group.tasks)} tasks of "
            f"'{group.objective}' cannot be read:\n  " + "\n  ".join(faults[:5]) + more
        )
    return readers


def _task_reader(
    task: TaskSpec, records: StoredSplit, info: CorpusInfo, *, segment_tokens: int | None
) -> TaskReader:
    if task.languages not in (info.languages, info.languages[::-1]):
        raise DataError(
            f"languages {list(task.languages)}, but corpus '{info.name}' holds "
            f"{list(info.languages)}; give the task another corpus"
        )
    if not len(records):
        raise DataError(f"corpus '{info.name}' has no record in this split; leave the task out")
    total_tokens = sum(records.info.tokens[language] for language in info.languages)
    pieces: Sequence = records
    if info.segment_tokens is not None:
        pieces = Segments(
            records,
            shard_records=[shard.num_records for shard in records.info.shards],
            stored_tokens=info.segment_tokens,
            wanted_tokens=segment_tokens,
            total_tokens=total_tokens,
        )
    return TaskReader(
        task=task,
        records=pieces,
        reverse=task.languages != info.languages,
        mean_tokens=total_tokens / len(pieces),
    )
