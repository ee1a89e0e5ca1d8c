"""Raw text to a store of token ids: one Apache Beam pipeline for any number of corpora.

    source shards ─ tokenise ─▶ sorted runs ─ plan ─▶ shards of a split ─ write ─▶ corpus.json last

Beam carries only descriptions (a few hundred bytes per source shard); text and ids travel through
runs on disk (`nmt5.data.runs`). So memory per worker is one run being filled (`run_bytes`) or one
shard being sorted (about twice `shard_bytes`), whatever the corpus and the runner. A split of
n bytes of ids gets ceil(n / shard_bytes) shards, each an equal range of the hash.

The result depends on sources, vocabulary and settings only, not on runner, workers or batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
import logging
import os
import pathlib
import re
import shutil

from array_record.python import array_record_module
import numpy as np

from nmt5.core import errors
from nmt5.core.errors import ConfigError, DataError, StorageError, UserError
from nmt5.core.files import read_json, sha256, storage_faults, write_json
from nmt5.data import runs, store
from nmt5.data.encoding import Tally, encode_examples
from nmt5.data.prepare_progress import Progress, UnitNotes, watch
from nmt5.data.sources.base import Corpus, TextSource
from nmt5.data.vocabulary import Vocabulary

MIB = 1 << 20
LOCAL_RUNNER = "local"
_BATCH_EXAMPLES = 1024
_BATCH_CHARACTERS = 4 * MIB
_TEMPORARY = ".prepare"
_SHOWN_FAILURES = 5
TRAIN = "train"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a store is written.

    Attributes:
      store: directory of the store, on a file system that all workers see.
      vocabulary: what `Vocabulary.load` takes.
      segment_tokens: ids per monolingual record; 1,137 become 1,024 inputs under span corruption.
      runner: "local" (in this process, threads) or the name of a Beam runner.
      runner_options: further Beam options, for example "--direct_running_mode=multi_processing".
      num_workers: threads of the local runner; 0 is one per core.
      shard_bytes: ids per output shard, in bytes of 4-byte ids.
      run_bytes: ids that a worker gathers before it sorts and writes them.

    Raises:
      ConfigError: a number is out of range, or the store is not a local path.
    """

    store: str
    vocabulary: str
    segment_tokens: int = 1137
    runner: str = LOCAL_RUNNER
    runner_options: tuple[str, ...] = ()
    num_workers: int = 0
    shard_bytes: int = 128 * MIB
    run_bytes: int = 64 * MIB

    def __post_init__(self):
        for name, least in (
            ("segment_tokens", 2),
            ("num_workers", 0),
            ("shard_bytes", 1),
            ("run_bytes", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"PrepareConfig.{name}: found {value!r}, expected a whole number of at least "
                    f"{least}"
                )
        if "://" in self.store:
            raise ConfigError(
                f"PrepareConfig.store: {self.store}: a store is written to a mounted file system; "
                "give a path, and copy the store afterwards if it shall lie elsewhere"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` did.

    Attributes:
      corpora: `{name: CorpusInfo}` of all corpora asked for.
      written: names written by this call.
      rebuilt: those of them that replaced an older state.
      kept: names found finished with equal source, vocabulary and settings.
      notes: what a user should look at, such as an empty validation split.
    """

    corpora: dict[str, store.CorpusInfo]
    written: tuple[str, ...]
    rebuilt: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Unit:
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
    """A shard to write; the first of a split carries the split's counts."""

    corpus: str
    split: str
    shard: int
    num_shards: int
    runs: tuple[str, ...]
    tally: Tally | None
    errors: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class _WrittenShard:
    split: str
    shard: int
    info: store.ShardInfo | None
    tally: Tally | None
    errors: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class _Setting:
    """What every step needs besides its element."""

    config: PrepareConfig
    vocabulary: Vocabulary
    temporary: str
    corpora: dict[str, Corpus]
    fingerprints: dict[str, str]

    def path(self, *parts: str) -> str:
        return os.path.join(self.temporary, *parts)


def prepare(
    config: PrepareConfig,
    corpora: Sequence[Corpus],
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Prepared:
    """Writes those corpora that the store does not hold yet, or holds in another state.

    Interrupted at any moment and called again, it keeps the corpora that were finished. A corpus
    that fails does not keep the others from being finished.

    Args:
      config: where and how.
      corpora: what to write; names must differ.
      progress: called about once a second, for example a `ProgressLine`.

    Returns:
      The descriptions of all corpora, and what was done.

    Raises:
      ConfigError: a corpus name occurs twice.
      DataError: a source cannot be read, or a training split has no text; names every such corpus.
      StorageError: the store cannot be written, or another `prepare` is writing to it.
      VocabularyError: the vocabulary is missing or broken.
    """
    names = [corpus.name for corpus in corpora]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"prepare: corpora named twice: {', '.join(twice[:5])}")
    vocabulary = Vocabulary.load(config.vocabulary)
    fingerprints = {c.name: corpus_fingerprint(c, vocabulary, config) for c in corpora}
    root = pathlib.Path(config.store).expanduser()
    kept, rebuilt, pending = [], [], []
    for corpus in corpora:
        state = _state(root, corpus, fingerprints[corpus.name])
        (kept if state == "same" else pending).append(corpus)
        if state == "changed":
            rebuilt.append(corpus.name)
            logging.info("prepare: %s: source or settings changed; writing it again", corpus.name)
    if pending:
        with _temporary_directory(root) as temporary:
            setting = _Setting(
                config, vocabulary, temporary, {c.name: c for c in pending}, fingerprints
            )
            _run(setting, pending, progress)
            _raise_failures(setting, len(pending))
    infos = {name: store.read_corpus_info(root, name) for name in names}
    notes = tuple(
        f"{name}: split '{split}' holds nothing (dropped: {dict(info.dropped) or 'nothing'})"
        for name, corpus_info in infos.items()
        for split, info in corpus_info.splits.items()
        if not info.num_records
    )
    return Prepared(
        corpora=infos,
        written=tuple(corpus.name for corpus in pending),
        rebuilt=tuple(rebuilt),
        kept=tuple(corpus.name for corpus in kept),
        notes=notes,
    )


def corpus_fingerprint(corpus: Corpus, vocabulary: Vocabulary, config: PrepareConfig) -> str:
    """Returns a digest of all that decides what a corpus in the store contains.

    Of a source these are its settings, and sizes and times of its files if it can name them.
    """
    segment_tokens = config.segment_tokens if len(corpus.source.languages) == 1 else None
    identity = (
        store.FORMAT,
        _source_identity(corpus.source),
        vocabulary.fingerprint,
        segment_tokens,
        config.shard_bytes,
    )
    return sha256(repr(identity).encode())


def _source_identity(source: TextSource) -> tuple:
    inner = [getattr(source, field.name) for field in dataclasses.fields(source)]
    file_states = getattr(source, "file_states", tuple)
    wrapped = [_source_identity(value) for value in inner if isinstance(value, TextSource)]
    return (repr(source), tuple(file_states()), tuple(wrapped))


def _state(root: pathlib.Path, corpus: Corpus, fingerprint: str) -> str:
    if not store.corpus_exists(root, corpus.name):
        return "missing"
    try:
        return (
            "same" if store.read_corpus_info(root, corpus.name).source == fingerprint else "changed"
        )
    except UserError:  # of an older format, or broken: it is written again
        return "changed"


@functools.lru_cache(maxsize=4)
def _vocabulary(vocabulary: Vocabulary) -> Vocabulary:
    """Returns one opened vocabulary per process: every copy that Beam unpickles is a new one."""
    return vocabulary


class _temporary_directory:  # noqa: N801 - used like contextlib's
    """A directory for runs within the store, removed at the end; one `prepare` per store at a time.

    What an interrupted run left is removed at the next start: its lock is free then.
    """

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._path = root / _TEMPORARY

    def __enter__(self) -> str:
        with storage_faults("preparing", self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            self._lock = open(self._root / f"{_TEMPORARY}.lock", "w")  # noqa: SIM115
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise StorageError(
                f"prepare: {self._root}: another `nmt5 prepare` is writing to this store; wait for "
                "it to end"
            ) from error
        shutil.rmtree(self._path, ignore_errors=True)
        with storage_faults("preparing", self._path):
            for name in ("runs", "notes", "corpora", "failures"):
                (self._path / name).mkdir(parents=True)
        return os.fspath(self._path)

    def __exit__(self, *exception):
        shutil.rmtree(self._path, ignore_errors=True)
        self._lock.close()


def _units(corpora: Iterable[Corpus]) -> list[_Unit]:
    numbers = itertools.count()
    return [
        _Unit(next(numbers), corpus, split, shard, shard_number)
        for corpus in corpora
        for split in corpus.source.splits()
        for shard_number, shard in enumerate(corpus.source.shards(split))
    ]


def _run(
    setting: _Setting, corpora: Sequence[Corpus], progress: Callable[[Progress], None] | None
) -> None:
    # Importing Beam takes seconds, which a store that is complete must not cost.
    logging.disable(logging.WARNING)  # Beam warns of each cloud client that is not installed
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    finally:
        logging.disable(logging.NOTSET)
    units = _units(corpora)
    options = PipelineOptions(_beam_options(setting.config))
    watching = watch(setting.path("notes"), units=len(units), callback=progress or (lambda _: None))
    try:
        with watching, beam.Pipeline(options=options) as pipeline:
            (
                pipeline
                | "source shards" >> beam.Create(units)
                | "spread" >> beam.Reshuffle()
                | "tokenise" >> beam.Map(functools.partial(_tokenise, setting))
                | "by split" >> beam.GroupByKey()
                | "plan" >> beam.FlatMap(functools.partial(_plan, setting))
                | "spread shards" >> beam.Reshuffle()
                | "write" >> beam.Map(functools.partial(_write_shard, setting))
                | "by corpus" >> beam.GroupByKey()
                | "finish" >> beam.Map(functools.partial(_finish, setting))
            )
    except Exception as error:
        user_error = _user_error_within(error)
        if user_error is None:
            raise
        raise user_error from error


def _beam_options(config: PrepareConfig) -> list[str]:
    if config.runner != LOCAL_RUNNER:
        return [f"--runner={config.runner}", *config.runner_options]
    # Threads: SentencePiece works outside Python's lock, and worker processes take 8 s to start.
    return [
        # Named directly: "DirectRunner" may turn to a runner that is downloaded first.
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_threading",
        f"--direct_num_workers={config.num_workers or os.cpu_count()}",
        *config.runner_options,
    ]


def _user_error_within(error: Exception) -> UserError | None:
    """Finds the user's error in what a runner made of it: augmented text, or a worker's trace."""
    kind, message = type(error).__name__, str(error)
    if not isinstance(error, UserError):
        found = re.search(r"nmt5\.core\.errors\.(\w+): (.*)", message)
        if found is None:
            return None
        kind, message = found.groups()
    message = re.sub(r" \[while running .*", "", message, flags=re.DOTALL)
    return getattr(errors, kind, DataError)(message)


def _tokenise(setting: _Setting, unit: _Unit) -> tuple[tuple[str, str], _TokenisedUnit]:
    """Encodes a source shard and leaves it as sorted runs; a user's error travels as a value."""
    key = (unit.corpus.name, unit.split)
    tally = Tally()
    try:
        paths, num_bytes = _write_runs(setting, unit, tally)
        return key, _TokenisedUnit(unit.number, tuple(paths), num_bytes, tally)
    except StorageError:
        raise  # the disk is full for the others too
    except UserError as error:
        return key, _TokenisedUnit(unit.number, (), 0, tally, (type(error).__name__, str(error)))


def _write_runs(setting: _Setting, unit: _Unit, tally: Tally) -> tuple[list[str], int]:
    source = unit.corpus.source
    # The shard's number, not its name: a moved directory gives the same order.
    seed = runs.name_seed(unit.corpus.name, unit.split, unit.shard_number)
    encode = functools.partial(
        encode_examples,
        languages=source.languages,
        vocabulary=_vocabulary(setting.vocabulary),
        seed=seed,
        tally=tally,
    )
    notes = UnitNotes(setting.path("notes"), unit.number)
    paths, blocks, gathered, num_bytes, first = [], [], 0, 0, 0

    def flush():
        path = setting.path("runs", f"{unit.number}-{len(paths)}")
        runs.write_run(path, runs.concatenate(blocks))
        paths.append(path)
        blocks.clear()

    for batch in _batches(source.read(unit.split, unit.shard, tally.dropped), source.languages):
        block = encode(batch, first=first)
        first += len(batch)
        blocks.append(block)
        gathered += block.values.nbytes
        num_bytes += block.values.nbytes
        notes.note(examples=tally.examples, tokens=tally.tokens.total())
        if gathered >= setting.config.run_bytes:
            flush()
            gathered = 0
    if blocks:
        flush()
    notes.note(examples=tally.examples, tokens=tally.tokens.total(), done=True)
    return paths, num_bytes


def _batches(
    examples: Iterable[dict[str, str]], languages: tuple[str, ...]
) -> Iterator[list[dict[str, str]]]:
    """Yields lists of consecutive examples, few enough that long documents stay cheap to hold."""
    batch, characters = [], 0
    for example in examples:
        batch.append(example)
        characters += len(example[languages[0]])
        if len(batch) >= _BATCH_EXAMPLES or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _plan(
    setting: _Setting, split: tuple[tuple[str, str], Iterable[_TokenisedUnit]]
) -> Iterator[_ShardTask]:
    """Decides the number of shards of a split, and adds up its counts."""
    (corpus, name), units = split
    units = sorted(units, key=lambda unit: unit.unit)
    tally = Tally()
    for unit in units:
        tally.merge(unit.tally)
    failed = tuple(unit.error for unit in units if unit.error)
    num_bytes = 0 if failed else sum(unit.num_bytes for unit in units)
    num_shards = max(1, -(-num_bytes // setting.config.shard_bytes))
    paths = () if failed else tuple(path for unit in units for path in unit.runs)
    for shard in range(num_shards):
        first = shard == 0
        yield _ShardTask(
            corpus,
            name,
            shard,
            num_shards,
            paths,
            tally if first else None,
            failed if first else (),
        )


def _write_shard(setting: _Setting, task: _ShardTask) -> tuple[str, _WrittenShard]:
    """Sorts one range of keys and writes it as an ArrayRecord file; none if the range is empty."""
    info = None
    block = runs.concatenate(
        [runs.read_run(path, shard=task.shard, num_shards=task.num_shards) for path in task.runs]
    )
    if len(block):
        file = f"{task.split}-{task.shard:05d}-of-{task.num_shards:05d}.arrayrecord"
        directory = setting.path("corpora", task.corpus)
        path = os.path.join(directory, file)
        if len(setting.corpora[task.corpus].source.languages) == 1:
            options = store.SEGMENT_WRITER_OPTIONS
            records = _segments(block, segment_tokens=setting.config.segment_tokens)
        else:
            options = store.PAIR_WRITER_OPTIONS
            records = (pair.astype("<i4").tobytes() for pair in block.in_key_order())
        with storage_faults("writing", path):
            os.makedirs(directory, exist_ok=True)
            num_records = _write_records(path, records, options=options)
        info = store.ShardInfo(file=file, num_records=num_records, sha256=store.file_sha256(path))
    return task.corpus, _WrittenShard(task.split, task.shard, info, task.tally, task.errors)


def _segments(block: runs.Block, *, segment_tokens: int) -> Iterator[bytes]:
    """Yields records of running text: documents in key order, without separator, cut evenly."""
    if len(block) == 0:
        return
    text = np.concatenate(list(block.in_key_order()))
    for start in range(0, len(text), segment_tokens):
        yield store.encode_record([text[start : start + segment_tokens]])


def _write_records(path: str, records: Iterable[bytes], *, options: str) -> int:
    writer = array_record_module.ArrayRecordWriter(path, options)
    num_records = 0
    try:
        for record in records:
            writer.write(record)
            num_records += 1
    except Exception as error:  # the bindings raise whatever Riegeli reports, most often ENOSPC
        raise StorageError(f"prepare: writing {path}: {error}") from error
    finally:
        try:
            writer.close()
        except Exception as error:
            raise StorageError(f"prepare: writing {path}: {error}") from error
    return num_records


def _finish(setting: _Setting, corpus: tuple[str, Iterable[_WrittenShard]]) -> None:
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
    if faults:
        write_json(setting.path("failures", f"{name}.json"), faults)
        return
    source = setting.corpora[name].source
    info = store.CorpusInfo(
        name=name,
        languages=source.languages,
        vocabulary=setting.vocabulary.fingerprint,
        vocabulary_size=_vocabulary(setting.vocabulary).token_ids.size,
        segment_tokens=setting.config.segment_tokens if len(source.languages) == 1 else None,
        source=setting.fingerprints[name],
        splits=splits,
    )
    store.write_corpus_info(setting.path("corpora"), info)
    place = pathlib.Path(setting.config.store).expanduser() / name
    with storage_faults("writing", place):
        # Without its description an older state no longer exists, whenever this is interrupted.
        (place / store.CORPUS_FILE).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
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


def _raise_failures(setting: _Setting, num_corpora: int) -> None:
    """Raises one error that names every corpus that failed; the others are in the store."""
    paths = sorted(pathlib.Path(setting.path("failures")).glob("*.json"))
    if not paths:
        return
    faults = [fault for path in paths for fault in read_json(path, what="failure", remedy="")]
    kinds = {kind for kind, _ in faults}
    error = getattr(errors, kinds.pop(), DataError) if len(kinds) == 1 else DataError
    shown = "\n  ".join(message for _, message in faults[:_SHOWN_FAILURES])
    more = len(faults) - _SHOWN_FAILURES
    raise error(
        f"prepare: {len(paths)} of {num_corpora} corpora failed, the others are finished:\n  "
        + shown
        + (f"\n  and {more} more" if more > 0 else "")
    )
