"""The steps of `nmt5 prepare`, each a function of one Beam element; `prepare` joins them.

Beam carries only descriptions (a few hundred bytes per source shard); text and ids travel through
sorted runs on disk (`nmt5.data.runs`). Errors that a user can mend travel as values, as Beam would
print each with its own traceback. One of a source leaves the other corpora to be finished; a full
disk ends the work of all.
"""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import shutil

import numpy as np

from nmt5.core.errors import DataError, StorageError, UserError
from nmt5.core.files import read_json, storage_faults, write_json, write_text
from nmt5.data import runs, shard_files, store
from nmt5.data.encoding import Tally, encode_examples
from nmt5.data.prepare_progress import UnitNotes
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import Vocabulary
from nmt5.data.worker_processes import call

TRAIN = "train"
PAIRS_PER_RECORD = 16
# Directories within the temporary one.
DIRECTORIES = ("runs", "notes", "corpora", "failures")
_FAULT = "fault.json"  # of the store; ends the work of all
# Their ids, as Python's numbers, stay in a core's cache: 4096 took 15% longer.
_BATCH_EXAMPLES = 512
_BATCH_CHARACTERS = 4 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What every step needs besides its element.

    Attributes:
      store: the store's root.
      temporary: holds `DIRECTORIES`, on the store's file system.
      vocabulary: the vocabulary.
      segment_tokens: ids per monolingual record.
      shard_bytes: ids per output shard, in bytes.
      run_bytes: ids gathered before they are sorted and written, in bytes.
      corpora: `{name: corpus}`.
      fingerprints: `{name: what goes into CorpusInfo.source}`.
    """

    store: str
    temporary: str
    vocabulary: Vocabulary
    segment_tokens: int
    shard_bytes: int
    run_bytes: int
    corpora: dict[str, Corpus]
    fingerprints: dict[str, str]

    def path(self, *parts: str) -> str:
        """Returns a path within the temporary directory."""
        return os.path.join(self.temporary, *parts)

    def of(self, *corpora: str) -> "Setting":
        """Returns the setting with these corpora alone: what a worker process is sent."""
        return dataclasses.replace(
            self, corpora={name: self.corpora[name] for name in corpora}, fingerprints={}
        )


@dataclasses.dataclass(frozen=True)
class Unit:
    """A source shard to tokenise."""

    number: int
    corpus: Corpus
    split: str
    shard: str
    shard_number: int


@dataclasses.dataclass(frozen=True)
class _TokenisedUnit:
    unit: int
    runs: tuple[str, ...]
    num_bytes: int
    tally: Tally
    error: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class _ShardTask:
    """A shard to write; the first of a split carries the split's counts.

    `runs` is a file with the paths of all runs of the split, one a line: were they here, a corpus
    of n runs and as many shards would send n^2 paths from step to step.
    """

    corpus: str
    split: str
    shard: int
    num_shards: int
    runs: str
    tally: Tally | None
    errors: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class _WrittenShard:
    split: str
    shard: int
    info: store.ShardInfo | None
    tally: Tally | None
    errors: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=4)
def _vocabulary(vocabulary: Vocabulary) -> Vocabulary:
    """Returns one opened vocabulary per process: every copy that Beam unpickles is a new one."""
    return vocabulary


def tokenise(setting: Setting, unit: Unit) -> tuple[tuple[str, str], _TokenisedUnit]:
    """Encodes a source shard and leaves it as sorted runs; a user's error travels as a value."""
    key = (unit.corpus.name, unit.split)
    error = _fault_of_all(setting)
    if error is None:
        try:
            if not unit.corpus.source.needs_files_alone:
                return key, _tokenise(setting, unit)
            part = setting.of(unit.corpus.name)
            return key, call(setting.temporary, _tokenise, part, unit)
        except UserError as raised:
            error = _noted(setting, raised)
    return key, _TokenisedUnit(unit.number, (), 0, Tally(), error)


def _tokenise(setting: Setting, unit: Unit) -> _TokenisedUnit:
    tally = Tally()
    paths, num_bytes = _write_runs(setting, unit, tally)
    return _TokenisedUnit(unit.number, tuple(paths), num_bytes, tally)


def _noted(setting: Setting, error: UserError) -> tuple[str, str]:
    """Returns an error as a value; a full disk is noted for all."""
    value = (type(error).__name__, str(error))
    if isinstance(error, StorageError):
        with contextlib.suppress(UserError):
            write_json(setting.path(_FAULT), value)
    return value


def _fault_of_all(setting: Setting) -> tuple[str, str] | None:
    """Returns an error that every other part would meet too, only later."""
    if not os.path.exists(setting.path(_FAULT)):
        return None
    return tuple(read_json(setting.path(_FAULT), what="fault", remedy=""))


def _write_runs(setting: Setting, unit: Unit, tally: Tally) -> tuple[list[str], int]:
    source = unit.corpus.source
    # The shard's number, not its name: a moved directory gives the same order.
    seed = runs.name_seed(unit.corpus.name, unit.split, unit.shard_number)
    encode = functools.partial(
        encode_examples,
        languages=source.languages,
        vocabulary=_vocabulary(setting.vocabulary),
        seed=seed,
        tally=tally,
        holds_ids=source.holds_ids,
    )
    notes = UnitNotes(setting.path("notes"), unit.number)
    paths, blocks, gathered, num_bytes, first = [], [], 0, 0, 0

    def flush():
        path = setting.path("runs", f"{unit.number}-{len(paths)}")
        runs.write_run(path, runs.concatenate(blocks))
        paths.append(path)
        blocks.clear()

    for batch in _batches(_read(unit, tally), source.languages):
        block = encode(batch, first=first)
        first += len(batch[source.languages[0]])
        blocks.append(block)
        gathered += block.values.nbytes
        num_bytes += block.values.nbytes
        notes.note(examples=tally.examples, tokens=tally.tokens.total())
        if gathered >= setting.run_bytes:
            flush()
            gathered = 0
    if blocks:
        flush()
    notes.note(examples=tally.examples, tokens=tally.tokens.total(), done=True)
    return paths, num_bytes


def _read(unit: Unit, tally: Tally) -> Iterator[dict[str, list[str]]]:
    try:
        yield from unit.corpus.source.read_columns(unit.split, unit.shard, tally.dropped)
    except StorageError as error:
        # A file that is missing is this corpus's fault alone, unlike a store that is full.
        raise DataError(str(error)) from error


def _batches(
    pieces: Iterable[dict[str, list[str]]], languages: tuple[str, ...]
) -> Iterator[dict[str, list[str]]]:
    """Joins consecutive examples, few enough that long documents stay cheap to hold."""
    batch: dict[str, list[str]] = {language: [] for language in languages}
    characters = 0
    for piece in pieces:
        for language in languages:
            batch[language] += piece[language]
        characters += sum(map(len, piece[languages[0]]))
        if len(batch[languages[0]]) >= _BATCH_EXAMPLES or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = {language: [] for language in languages}, 0
    if batch[languages[0]]:
        yield batch


def plan(
    setting: Setting, split: tuple[tuple[str, str], Iterable[_TokenisedUnit]]
) -> Iterator[_ShardTask]:
    """Decides the number of shards of a split, and adds up its counts."""
    (corpus, name), units = split
    units = sorted(units, key=lambda unit: unit.unit)
    tally = Tally()
    for unit in units:
        tally.merge(unit.tally)
    failed = tuple(unit.error for unit in units if unit.error)
    list_of_runs = setting.path("runs", f"{units[0].unit}.list")
    try:
        write_text(list_of_runs, "\n".join(path for unit in units for path in unit.runs))
    except UserError as error:
        failed = (*failed, _noted(setting, error))
    num_bytes = 0 if failed else sum(unit.num_bytes for unit in units)
    num_shards = max(1, -(-num_bytes // setting.shard_bytes))
    for shard in range(num_shards):
        first = shard == 0
        yield _ShardTask(
            corpus,
            name,
            shard,
            num_shards,
            list_of_runs,
            tally if first else None,
            failed if first else (),
        )


def write_shard(setting: Setting, task: _ShardTask) -> tuple[str, _WrittenShard]:
    """Sorts one range of keys and writes it as an ArrayRecord file; none if the range is empty."""
    is_pair = len(setting.corpora[task.corpus].source.languages) == 2
    info, errors = None, task.errors
    try:
        if not errors:
            info = call(setting.temporary, _write_shard, setting.of(), task, is_pair)
    except UserError as error:
        errors = (_noted(setting, error),)
    return task.corpus, _WrittenShard(task.split, task.shard, info, task.tally, errors)


def _write_shard(setting: Setting, task: _ShardTask, is_pair: bool) -> store.ShardInfo | None:
    with storage_faults("reading", task.runs):
        paths = pathlib.Path(task.runs).read_text().split("\n")
    block = runs.concatenate(
        [
            runs.read_run(path, shard=task.shard, num_shards=task.num_shards)
            for path in filter(None, paths)
        ]
    )
    if not len(block):
        return None
    file = f"{task.split}-{task.shard:05d}-of-{task.num_shards:05d}.arrayrecord"
    directory = setting.path("corpora", task.corpus)
    path = os.path.join(directory, file)
    block = block.in_key_order()
    if is_pair:
        num_records = len(block)
        options = shard_files.GROUPED_WRITER_OPTIONS
        content = memoryview(block.values.astype("<i4", copy=False)).cast("B")
        records = shard_files.group_records(
            content, np.cumsum(block.lengths), each=PAIRS_PER_RECORD
        )
    else:
        num_records = -(-len(block.values) // setting.segment_tokens)
        options = shard_files.SEGMENT_WRITER_OPTIONS
        records = _segments(block.values, segment_tokens=setting.segment_tokens)
    with storage_faults("writing", path):
        os.makedirs(directory, exist_ok=True)
        shard_files.write_records(path, records, options=options)
    return store.ShardInfo(file=file, num_records=num_records, sha256=store.file_sha256(path))


def _segments(text: np.ndarray, *, segment_tokens: int) -> Iterator[bytes]:
    """Yields records of running text: documents in key order, without separator, cut evenly."""
    for start in range(0, len(text), segment_tokens):
        yield shard_files.encode_record([text[start : start + segment_tokens]])


def finish(setting: Setting, corpus: tuple[str, Iterable[_WrittenShard]]) -> None:
    """Describes a corpus and gives it its place in the store; or notes why it has none."""
    name, written = corpus
    written = sorted(written, key=lambda shard: (shard.split, shard.shard))
    faults = [fault for shard in written for fault in shard.errors]
    splits = {}
    for split, shards in itertools.groupby(written, key=lambda shard: shard.split):
        splits[split] = _split_info(list(shards), setting.corpora[name].source.languages)
        if split == TRAIN and not splits[split].num_records and not faults:
            dropped = dict(splits[split].dropped) or "nothing"
            faults.append(
                ("DataError", f"corpus '{name}': split '{TRAIN}' has no text (dropped: {dropped})")
            )
    if not faults:
        try:
            _enter(setting, name, splits)
        except UserError as error:
            faults = [_noted(setting, error)]
    if faults:
        write_json(setting.path("failures", f"{name}.json"), faults)


def _enter(setting: Setting, name: str, splits: dict[str, store.SplitInfo]) -> None:
    """Writes a corpus's description and moves it to its place."""
    source = setting.corpora[name].source
    info = store.CorpusInfo(
        name=name,
        languages=source.languages,
        vocabulary=setting.vocabulary.fingerprint,
        vocabulary_size=_vocabulary(setting.vocabulary).token_ids.size,
        segment_tokens=setting.segment_tokens if len(source.languages) == 1 else None,
        source=setting.fingerprints[name],
        splits=splits,
        examples_per_record=PAIRS_PER_RECORD if len(source.languages) == 2 else 1,
    )
    store.write_corpus_info(setting.path("corpora"), info)
    place = pathlib.Path(setting.store).expanduser() / name
    with storage_faults("writing", place):
        # Without its description an older state no longer exists, whenever this is interrupted.
        (place / store.CORPUS_FILE).unlink(missing_ok=True)
        if place.exists():
            shutil.rmtree(place)
        os.rename(setting.path("corpora", name), place)


def _split_info(shards: list[_WrittenShard], languages: tuple[str, ...]) -> store.SplitInfo:
    tally = next(shard.tally for shard in shards if shard.tally is not None)
    infos = tuple(shard.info for shard in shards if shard.info is not None)
    return store.SplitInfo(
        num_records=sum(info.num_records for info in infos),
        examples=tally.examples,
        tokens={language: tally.tokens[language] for language in languages},
        dropped=dict(sorted(tally.dropped.items())),
        cut=tally.cut,
        lengths={
            language: {str(2**bound): count for bound, count in sorted(histogram.items())}
            for language, histogram in sorted(tally.lengths.items())
        },
        shards=infos,
    )
