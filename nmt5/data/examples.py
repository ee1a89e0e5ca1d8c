"""The examples of one group by number: example i is a function of (seed, group, i) alone.

Number -> task and occurrence (`selection`), occurrence -> record of the task's corpus (its order in
that epoch), record -> token ids (`store`), token ids and noise drawn from (seed, i) -> example
(`objectives`). Any number can be asked for at any time, from any thread.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import threading

import numpy as np

from nmt5.core.errors import DataError, VocabularyError
from nmt5.data.mixture import GroupSpec, TaskSpec, TokenIds
from nmt5.data.objectives import Example, find_objective
from nmt5.data.selection import EpochOrder, SelectionTable, stable_key
from nmt5.data.store import CorpusInfo
from nmt5.data.token_dictionary import TokenDictionary

# Shards with fewer full segments than this are asked how long their last one is (see `Segments`).
_SHORT_SHARD_RECORDS = 64


class Segments:
    """The text of a monolingual split, cut into pieces of the length that a row wants.

    A shard is running text, stored in records of `stored_tokens`; piece k of a shard is its ids
    from k x `wanted_tokens`, whichever records these lie in. If both lengths are equal, a piece is
    a record. Otherwise the end of a shard of 64 or more records, less than one record, may be
    left out: only opening every shard would tell its length.

    Args:
      records: the split; record i is a tuple with one int32 array.
      shard_records: records of each shard; all but a shard's last have `stored_tokens` ids.
      stored_tokens: ids of a full record.
      wanted_tokens: ids of a piece; the last of a shard may be shorter.
      total_tokens: ids of the whole split.
    """

    def __init__(
        self,
        records: Sequence[tuple[np.ndarray, ...]],
        *,
        shard_records: Sequence[int],
        stored_tokens: int,
        wanted_tokens: int,
        total_tokens: int,
    ):
        self._records = records
        self._stored = stored_tokens
        self._wanted = wanted_tokens
        if stored_tokens == wanted_tokens:
            self._piece_starts = None
            self._num_pieces = len(records)
            return
        self._record_ends = list(itertools.accumulate(shard_records))
        pieces = []
        for end, count in zip(self._record_ends, shard_records):
            full = (count - 1) * stored_tokens
            if len(shard_records) == 1:
                tokens = total_tokens
            elif 0 < count < _SHORT_SHARD_RECORDS:
                tokens = full + len(records[end - 1][0])
            else:
                tokens = full + 1
            pieces.append(-(-tokens // wanted_tokens) if count else 0)
        self._piece_starts = np.cumsum([0, *pieces])
        self._num_pieces = int(self._piece_starts[-1])

    def __len__(self) -> int:
        return self._num_pieces

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        if self._piece_starts is None:
            return self._records[index]
        shard = int(np.searchsorted(self._piece_starts, index, side="right")) - 1
        first = int(index - self._piece_starts[shard]) * self._wanted
        start_record = self._record_ends[shard - 1] if shard else 0
        record, offset = divmod(first, self._stored)
        record += start_record
        parts, missing = [], self._wanted
        while missing > 0 and record < self._record_ends[shard]:
            part = self._records[record][0][offset : offset + missing]
            parts.append(part)
            missing -= len(part)
            record, offset = record + 1, 0
        return (np.concatenate(parts) if len(parts) > 1 else parts[0],)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskReader:
    """A task with its text.

    Attributes:
      task: the task.
      records: its segments, or sentence pairs in the order of the store.
      reverse: whether the task's direction is the reverse of the store's.
      mean_tokens: mean ids of a record, all languages together.
      dictionary: of the source's language, for an objective that replaces words.
    """

    task: TaskSpec
    records: Sequence[tuple[np.ndarray, ...]]
    reverse: bool
    mean_tokens: float
    dictionary: TokenDictionary | None = None

    def segments(self, record: int) -> tuple[np.ndarray, ...]:
        """Returns the token ids of a record, source first."""
        found = self.records[record]
        return found[::-1] if self.reverse else found


class ExampleMaker:
    """Applies a group's objective, with its settings, to stored token ids.

    Args:
      group: the group.
      ids: the vocabulary's special ids.
      inputs_length: longest inputs in tokens, EOS counted.
      targets_length: longest targets in tokens, EOS counted.
    """

    def __init__(self, group: GroupSpec, *, ids: TokenIds, inputs_length: int, targets_length: int):
        self._objective = find_objective(group.objective)
        self._settings = {
            "ids": ids,
            "max_inputs": inputs_length,
            "max_targets": targets_length,
            **group.settings,
        }

    def __call__(self, reader: TaskReader, record: int, *, rng: np.random.Generator) -> Example:
        """Returns the example made of one record of one of the group's tasks."""
        segments, task = reader.segments(record), reader.task
        try:
            return self._objective(
                segments,
                rng,
                prefix=task.prefix,
                target_prefix=task.target_prefix,
                dictionary=reader.dictionary,
                **self._settings,
            )
        except DataError as error:
            raise DataError(f"task '{reader.task.name}', record {record}: {error}") from error


class GroupExamples:
    """Random access to the examples of a group.

    Args:
      group: the group.
      readers: a `TaskReader` per task.
      make: makes an example of a record.
      seed: of the run; another seed gives another order and other noise.

    Attributes:
      readers: a `TaskReader` per task.
      draws: how often each task is drawn per 2^20 examples.
    """

    def __init__(
        self,
        group: GroupSpec,
        *,
        readers: Sequence[TaskReader],
        make: ExampleMaker,
        seed: int,
    ):
        self.readers = tuple(readers)
        self._make = make
        key = stable_key(group.objective)
        rates = np.array([reader.task.rate for reader in self.readers])
        self._table = SelectionTable(rates, seed=(seed, key))
        self.draws = self._table.draws
        self._order = EpochOrder(seed=seed)
        self._keys = [stable_key(reader.task.name) for reader in self.readers]
        self._noise_key = noise_key(seed, group.objective)
        self._of_thread = threading.local()

    def read(self, start: int, stop: int) -> list[tuple[int, Example]]:
        """Returns examples `start` to `stop` as (index of the task, example).

        Raises:
          DataError: a store is damaged, or a text needs more sentinels than there are.
        """
        noise = getattr(self._of_thread, "noise", None)
        if noise is None:
            noise = self._of_thread.noise = NoiseAt(self._noise_key)
        return [
            (task, self._make(self.readers[task], record, rng=noise(number)))
            for number, (task, record) in enumerate(self.locate(start, stop), start)
        ]

    def locate(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yields where examples `start` to `stop` come from, as (index of the task, record)."""
        tasks, occurrences = self._table.select(np.arange(start, stop))
        for task, occurrence in zip(tasks.tolist(), occurrences.tolist(), strict=True):
            yield (
                task,
                self._order.record(
                    self._keys[task],
                    occurrence=occurrence,
                    num_records=len(self.readers[task].records),
                ),
            )


def noise_key(seed: int, name: str) -> np.ndarray:
    """Returns the key of `NoiseAt` for a seed and a name, two uint64."""
    return np.random.SeedSequence((seed, stable_key(name))).generate_state(2, np.uint64)


class NoiseAt:
    """A random generator that can be set to the stream of any example in a microsecond.

    Philox counts; each number gets its own 2^128 counts. Making a generator instead takes 10 us.
    One object serves one thread, and a stream ends when the next is asked for.
    """

    def __init__(self, key: np.ndarray):
        self._bits = np.random.Philox(key=key)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def __call__(self, number: int) -> np.random.Generator:
        """Returns the generator at the beginning of stream `number`."""
        self._state["state"]["counter"][:] = (0, 0, number, 0)
        self._bits.state = self._state
        return self._generator


def check_vocabulary(info: CorpusInfo, *, ids: TokenIds, mixture: str, task: str) -> None:
    """Raises `VocabularyError` unless a corpus holds ids of the mixture's vocabulary."""
    if info.vocabulary != ids.fingerprint:
        raise VocabularyError(
            f"mixture '{mixture}': task '{task}': corpus '{info.name}' was made with vocabulary "
            f"{info.vocabulary[:12]} ({info.vocabulary_size} ids), the mixture has "
            f"{ids.fingerprint[:12]} ({ids.size} ids); run `nmt5 prepare` with the mixture's "
            "vocabulary"
        )
