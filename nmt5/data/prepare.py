"""Raw text to a store of token ids: one Apache Beam pipeline for any number of corpora.

    source shards ─ tokenise ─▶ sorted runs ─ plan ─▶ shards of a split ─ write ─▶ corpus.json last

Beam carries only descriptions (a few hundred bytes per source shard); text and ids travel through
runs on disk (`nmt5.data.runs`). So memory per worker is one run being filled (`run_bytes`) or one
shard being sorted (about twice `shard_bytes`), whatever the corpus and the runner. A split of
n bytes of ids gets ceil(n / shard_bytes) shards, each an equal range of the hash.

The result depends on sources, vocabulary and settings only, not on runner, workers or batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import fcntl
import functools
import gc
import logging
import os
import pathlib
import re
import shutil
import uuid

from nmt5.core import errors
from nmt5.core.errors import ConfigError, DataError, StorageError, UserError
from nmt5.core.files import read_json, sha256, storage_faults
from nmt5.data import prepare_steps as steps
from nmt5.data import store
from nmt5.data.prepare_progress import Progress, watch
from nmt5.data.sources.base import Corpus, TextSource
from nmt5.data.sources.seqio_task import SeqioTaskSource
from nmt5.data.vocabulary import Vocabulary
from nmt5.data.worker_processes import collect_seldom, worker_processes

MIB = 1 << 20
LOCAL_RUNNER = "local"
_TEMPORARY = ".prepare"
# A pipeline takes two seconds to begin and end, whatever it works on.
_CORPORA_AT_ONCE = 16
_SHOWN_FAILURES = 5
# Of text: two seconds of work for two cores, where worker processes take half a second to start.
_LARGE_BYTES = 32 * MIB


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a store is written.

    Attributes:
      store: directory of the store, on a file system that all workers see.
      vocabulary: what `Vocabulary.load` takes.
      segment_tokens: ids per monolingual record; 1,137 become 1,024 inputs under span corruption.
      runner: "local" (this machine) or the name of a Beam runner.
      runner_options: further Beam options, for example "--direct_running_mode=multi_processing".
      num_workers: of the local runner; 0 is one per core. They are processes, but threads for a
        few files, and for sources that need more than files (TFDS, SeqIO, classes of your own).
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
    shard_bytes: int = 64 * MIB
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
    for source in (corpus.source for corpus in corpora):
        if isinstance(source, SeqioTaskSource):
            source.require_vocabulary(vocabulary)
    identities = {corpus.name: _source_identity(corpus.source) for corpus in corpora}
    fingerprints = {
        c.name: _corpus_fingerprint(c, identities[c.name], vocabulary, config) for c in corpora
    }
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
            setting = steps.Setting(
                store=os.fspath(root),
                temporary=temporary,
                vocabulary=vocabulary,
                segment_tokens=config.segment_tokens,
                shard_bytes=config.shard_bytes,
                run_bytes=config.run_bytes,
                corpora={corpus.name: corpus for corpus in pending},
                fingerprints=fingerprints,
            )
            num_bytes = sum(
                _file_bytes(identities[c.name]) for c in pending if c.source.needs_files_alone
            )
            with _workers(config, setting, much=num_bytes >= _LARGE_BYTES):
                _run(config, setting, progress)
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


def _corpus_fingerprint(
    corpus: Corpus, source_identity: tuple, vocabulary: Vocabulary, config: PrepareConfig
) -> str:
    """Returns a digest of all that decides what a corpus in the store contains.

    Of a source these are its settings, and sizes and times of its files if it can name them.
    """
    segment_tokens = config.segment_tokens if len(corpus.source.languages) == 1 else None
    identity = (
        store.FORMAT,
        source_identity,
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


@contextlib.contextmanager
def _temporary_directory(root: pathlib.Path) -> Iterator[str]:
    """Gives a directory for runs within the store, for one `prepare` at a time; removes it after.

    What a killed run left is removed at the next start: its lock is free then. The name is another
    each time, as worker processes of a killed run may write on for a moment.
    """
    temporary = root / _TEMPORARY / uuid.uuid4().hex
    with storage_faults("preparing", root):
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / f"{_TEMPORARY}.lock", "w")  # noqa: SIM115 - held until the end
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"prepare: {root}: another `nmt5 prepare` is writing to this store; wait for it to "
                "end"
            ) from error
        shutil.rmtree(root / _TEMPORARY, ignore_errors=True)
        try:
            with storage_faults("preparing", temporary):
                for name in steps.DIRECTORIES:
                    (temporary / name).mkdir(parents=True)
            yield os.fspath(temporary)
        finally:
            shutil.rmtree(root / _TEMPORARY, ignore_errors=True)


def _units(corpora: Iterable[Corpus]) -> list[steps.Unit]:
    units = []
    for corpus in corpora:
        for split in corpus.source.splits():
            shards = corpus.source.shards(split)
            if not shards:
                raise DataError(f"prepare: corpus '{corpus.name}': split '{split}' has no shard")
            units += [
                steps.Unit(len(units) + number, corpus, split, shard, number)
                for number, shard in enumerate(shards)
            ]
    return units


def _run(
    config: PrepareConfig,
    setting: steps.Setting,
    progress: Callable[[Progress], None] | None,
) -> None:
    # Importing Beam takes seconds, which a store that is complete must not cost.
    logging.disable(logging.WARNING)  # Beam warns of each cloud client that is not installed
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    finally:
        logging.disable(logging.NOTSET)
    units = _units(setting.corpora.values())
    options = PipelineOptions(_beam_options(config))
    at_once = _CORPORA_AT_ONCE if config.runner == LOCAL_RUNNER else len(setting.corpora)
    names = list(setting.corpora)
    groups = [set(names[i : i + at_once]) for i in range(0, len(names), at_once)]
    watching = watch(setting.path("notes"), units=len(units), callback=progress or (lambda _: None))
    try:
        with watching:
            # One pipeline after the other: its steps are barriers, so what is finished when a run
            # is killed is what earlier pipelines made.
            for group in groups:
                with beam.Pipeline(options=options) as pipeline:
                    (
                        pipeline
                        | "source shards"
                        >> beam.Create([u for u in units if u.corpus.name in group])
                        | "spread" >> beam.Reshuffle()
                        | "tokenise" >> beam.Map(functools.partial(steps.tokenise, setting))
                        | "by split" >> beam.GroupByKey()
                        | "plan" >> beam.FlatMap(functools.partial(steps.plan, setting))
                        | "spread shards" >> beam.Reshuffle()
                        | "write" >> beam.Map(functools.partial(steps.write_shard, setting))
                        | "by corpus" >> beam.GroupByKey()
                        | "finish" >> beam.Map(functools.partial(steps.finish, setting))
                    )
    except Exception as error:
        user_error = _user_error_within(error)
        if user_error is None:
            raise
        raise user_error from error


@contextlib.contextmanager
def _workers(config: PrepareConfig, setting: steps.Setting, *, much: bool) -> Iterator[None]:
    """Starts worker processes if there is work enough for them; else suits this one to threads."""
    if config.runner == LOCAL_RUNNER and much:
        with worker_processes(setting.temporary, _num_workers(config)):
            yield
        return
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _file_bytes(identity: tuple) -> int:
    """Returns the bytes of a source's files, from its identity."""
    _, states, wrapped = identity
    return sum(length for _, length, _ in states) + sum(map(_file_bytes, wrapped))


def _num_workers(config: PrepareConfig) -> int:
    return config.num_workers or len(os.sched_getaffinity(0))


def _beam_options(config: PrepareConfig) -> list[str]:
    if config.runner != LOCAL_RUNNER:
        return [f"--runner={config.runner}", *config.runner_options]
    # Threads: what is worth a process they hand to one, and Beam's own take 8 s to start.
    return [
        # Named directly: "DirectRunner" may turn to a runner that is downloaded first.
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_threading",
        f"--direct_num_workers={_num_workers(config)}",
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


def _raise_failures(setting: steps.Setting, num_corpora: int) -> None:
    """Raises one error that names every corpus that failed; the others are in the store."""
    paths = sorted(pathlib.Path(setting.path("failures")).glob("*.json"))
    if not paths:
        return
    faults = [fault for path in paths for fault in read_json(path, what="failure", remedy="")]
    kinds = {kind for kind, _ in faults}
    error = getattr(errors, kinds.pop(), DataError) if len(kinds) == 1 else DataError
    messages = list(dict.fromkeys(message for _, message in faults))
    shown = "\n  ".join(messages[:_SHOWN_FAILURES])
    more = len(messages) - _SHOWN_FAILURES
    raise error(
        f"prepare: {len(paths)} of {num_corpora} corpora failed, the others are finished:\n  "
        + shown
        + (f"\n  and {more} more" if more > 0 else "")
    )
