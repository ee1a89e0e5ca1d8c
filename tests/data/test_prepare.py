import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError, VocabularyError
from nmt5.data import prepare as prepare_module
from nmt5.data import prepare_steps, shard_files, store
from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.sources.base import Corpus, TextSource
from nmt5.data.sources.filters import filtered
from nmt5.data.sources.moses import MosesSource
from nmt5.data.sources.tsv import TsvSource
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture
def config(tmp_path, toy_vocabulary):
    return PrepareConfig(store=str(tmp_path / "store"), vocabulary=str(toy_vocabulary))


@pytest.fixture
def corpora(list_source, toy_sentences):
    text = [(s,) for s in toy_sentences(300)]
    pairs = list(zip(toy_sentences(200, seed=1), toy_sentences(200, seed=2)))
    return [
        Corpus(name="text.fr", source=list_source(["fr"], text[:50] + [("",)] + text[50:])),
        Corpus(name="pair.en-fr", source=list_source(["en", "fr"], [("a", ""), *pairs])),
    ]


def contents(root):
    return {
        path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(root).rglob("*"))
        if path.is_file()
    }


def records(root, corpus, split="train"):
    return [tuple(s.tolist() for s in r) for r in store.open_split(root, corpus, split)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultySource(TextSource):
    """Reads well until the line that is wrong."""

    def splits(self):
        return ("train",)

    def shards(self, split):
        return ("only",)

    def read(self, split, shard, dropped):
        yield {self.languages[0]: "bad"}
        raise DataError(f"bad.{self.languages[0]}: line 2: not UTF-8")


def test_pairs_and_text_come_back_whole(config, corpora):
    prepared = prepare(config, corpora)
    assert set(prepared.written) == {"text.fr", "pair.en-fr"} and not prepared.kept
    vocabulary = Vocabulary.load(config.vocabulary)
    pairs = records(config.store, "pair.en-fr")
    expected = [
        tuple(vocabulary.encode(text) for text in pair) for pair in corpora[1].source.examples[1:]
    ]
    assert sorted(map(str, pairs)) == sorted(map(str, expected)) and pairs != expected

    documents = [vocabulary.encode(text) for (text,) in corpora[0].source.examples if text]
    segments = [ids for (ids,) in records(config.store, "text.fr")]
    assert all(len(segment) == 1137 for segment in segments[:-1])
    assert 0 < len(segments[-1]) <= 1137
    # Documents follow each other without separator, each whole, in another order.
    running = " ".join(map(str, sum(segments, [])))
    assert len(running.split()) == sum(map(len, documents))
    assert all(" ".join(map(str, document)) in running for document in documents)

    info = prepared.corpora["pair.en-fr"].splits["train"]
    assert info.examples == info.num_records == 200 and info.dropped == {"empty": 1}
    assert info.tokens == {
        language: sum(len(pair[side]) for pair in expected)
        for side, language in enumerate(("en", "fr"))
    }
    assert sum(info.lengths["en"].values()) == 200
    assert prepared.corpora["text.fr"].splits["train"].dropped == {"empty": 1}
    assert prepared.corpora["text.fr"].vocabulary == vocabulary.fingerprint
    for name in prepared.corpora:
        store.verify_corpus(config.store, name)
    assert set(os.listdir(config.store)) == {"text.fr", "pair.en-fr", ".prepare.lock"}


def test_the_same_bytes_whatever_the_workers_batches_and_runs(
    config, corpora, tmp_path, monkeypatch
):
    prepare(config, corpora)
    expected = contents(config.store)
    monkeypatch.setattr(prepare_steps, "_BATCH_EXAMPLES", 7)
    other = dataclasses.replace(config, store=str(tmp_path / "other"), num_workers=3, run_bytes=500)
    prepare(other, corpora[::-1])
    assert contents(other.store) == expected


def test_several_shards_hold_the_same_examples(config, corpora, tmp_path):
    prepare(config, corpora)
    small = dataclasses.replace(config, store=str(tmp_path / "small"), shard_bytes=12_000)
    info = prepare(small, corpora).corpora["pair.en-fr"].splits["train"]
    assert len(info.shards) > 2 and min(shard.num_records for shard in info.shards) > 10
    assert records(small.store, "pair.en-fr") == records(config.store, "pair.en-fr")


def test_finished_corpora_are_kept_and_changed_ones_written_again(config, corpora, list_source):
    prepare(config, corpora)
    before = contents(config.store)
    again = prepare(config, corpora)
    assert set(again.kept) == {"text.fr", "pair.en-fr"} and not again.written
    changed = Corpus(name="text.fr", source=list_source(["fr"], [("neu neu",)] * 4))
    third = prepare(config, [changed, corpora[1]])
    assert third.rebuilt == third.written == ("text.fr",) and third.kept == ("pair.en-fr",)
    assert third.corpora["text.fr"].splits["train"].examples == 4
    after = contents(config.store)
    assert {p for p in after if after[p] != before.get(p)} == {
        p for p in after if p.parts[0] == "text.fr"
    }


def test_another_vocabulary_or_segment_length_is_another_state(config, corpora):
    prepare(config, corpora)
    shorter = prepare(dataclasses.replace(config, segment_tokens=100), corpora)
    assert shorter.written == ("text.fr",) and shorter.kept == ("pair.en-fr",)
    assert len(records(config.store, "text.fr")[0][0]) == 100


def test_corpora_that_fail_are_all_named_and_the_others_finished(config, corpora, list_source):
    bad = [Corpus(name=f"bad.{x}", source=FaultySource(languages=(x,))) for x in ("de", "it")]
    empty = Corpus(name="void", source=list_source(["fr"], [("",), (" ",)]))
    with pytest.raises(DataError) as error:
        prepare(config, [bad[0], *corpora, bad[1], empty])
    message = str(error.value)
    assert message.startswith("prepare: 3 of 5 corpora failed, the others are finished")
    assert "bad.de: line 2: not UTF-8" in message and "bad.it: line 2" in message
    assert "corpus 'void': split 'train' has no text (dropped: {'empty': 2})" in message
    assert store.list_corpora(config.store) == ["pair.en-fr", "text.fr"]
    assert prepare(config, corpora).kept == ("text.fr", "pair.en-fr")


def test_a_missing_file_is_the_fault_of_its_corpus_alone(config, corpora, tmp_path):
    missing = MosesSource(languages=("fr",), files={"train": "no.txt"}, root=str(tmp_path))
    with pytest.raises(DataError, match=r"1 of 3 corpora failed(.|\n)*no\.txt does not exist"):
        prepare(config, [*corpora, Corpus(name="gone", source=missing)])
    assert store.list_corpora(config.store) == ["pair.en-fr", "text.fr"]


def test_changed_files_are_another_state(config, tmp_path):
    (tmp_path / "x.txt").write_text("ba be\n")
    source = MosesSource(languages=("fr",), files={"train": "x.txt"}, root=str(tmp_path))
    corpus = Corpus(name="x", source=filtered(source, min_characters=2))
    assert prepare(config, [corpus]).written == prepare(config, [corpus]).kept == ("x",)
    (tmp_path / "x.txt").write_text("ba be\nbi bo\n")
    assert prepare(config, [corpus]).rebuilt == ("x",)


def test_empty_validation_is_allowed_and_noted(config, list_source, monkeypatch):
    source = list_source(["fr"], [("ba be",)])
    monkeypatch.setattr(
        type(source),
        "read",
        lambda self, split, shard, dropped: iter(
            [{"fr": "ba be"}] if (split, shard) == ("train", "even") else []
        ),
    )
    prepared = prepare(config, [Corpus(name="a", source=source)])
    assert prepared.notes == ("a: split 'validation' holds nothing (dropped: nothing)",)
    assert len(store.open_split(config.store, "a", "validation")) == 0


def test_an_interrupted_rebuild_leaves_no_half_corpus(config, corpora, monkeypatch):
    prepare(config, corpora)

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_steps.os, "rename", killed)
    longer = dataclasses.replace(config, segment_tokens=200)
    with pytest.raises(BaseException):  # noqa: B017 - however a runner hands the interrupt on
        prepare(longer, corpora)
    assert store.list_corpora(config.store) == ["pair.en-fr"]
    monkeypatch.undo()
    assert prepare(longer, corpora).written == ("text.fr",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KillingSource(FaultySource):
    """Takes the whole run down when it is read."""

    def read(self, split, shard, dropped):
        raise RuntimeError("power cut")


def test_what_earlier_pipelines_finished_stays_when_a_run_is_killed(config, corpora, monkeypatch):
    monkeypatch.setattr(prepare_module, "_CORPORA_AT_ONCE", 2)
    killing = Corpus(name="killing", source=KillingSource(languages=("fr",)))
    with pytest.raises(RuntimeError, match="power cut"):
        prepare(config, [*corpora, killing])
    assert sorted(store.list_corpora(config.store)) == ["pair.en-fr", "text.fr"]
    assert prepare(config, corpora).kept == ("text.fr", "pair.en-fr")


def test_leftovers_of_a_killed_run_are_removed(config, corpora):
    stale = pathlib.Path(config.store) / ".prepare" / "runs"
    stale.mkdir(parents=True)
    (stale / "0-0").write_bytes(b"half a run")
    prepare(config, corpora)
    assert not stale.exists()


def test_two_at_once_are_refused(config, corpora):
    with (
        prepare_module._temporary_directory(pathlib.Path(config.store)),
        pytest.raises(StorageError, match="another `nmt5 prepare` is writing"),
    ):
        prepare(config, corpora)


def test_unwritable_store_and_full_disk(config, corpora, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    blocked = dataclasses.replace(config, store=str(tmp_path / "file" / "store"))
    with pytest.raises(StorageError, match="a file stands where a directory"):
        prepare(blocked, corpora)

    class FullDisk:
        def __init__(self, path, options):
            pass

        def write(self, record):
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 0")

        def close(self):
            raise RuntimeError("Failed to close: No space left on device")

    monkeypatch.setattr(shard_files.array_record_module, "ArrayRecordWriter", FullDisk)
    with pytest.raises(StorageError, match="No space left on device") as error:
        prepare(config, corpora)
    assert "while running" not in str(error.value)
    assert store.list_corpora(config.store) == []
    assert os.listdir(config.store) == [".prepare.lock"]


def test_progress_ends_with_everything(config, corpora):
    seen = []
    prepare(config, corpora, progress=seen.append)
    last = seen[-1]
    assert last.finished
    assert last.units_done == last.units == 8  # two corpora, two splits, two shards
    assert last.examples == 2 * (300 + 200)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"segment_tokens": 1}, "segment_tokens: found 1, expected .* at least 2"),
        ({"num_workers": -1}, "num_workers"),
        ({"shard_bytes": 2.5}, "shard_bytes: found 2.5"),
        ({"store": "gs://bucket/store"}, "mounted file system"),
    ],
)
def test_settings_out_of_range(config, setting, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(config, **setting)


def test_names_and_vocabulary_are_checked_first(config, corpora):
    with pytest.raises(ConfigError, match=r"named twice: text\.fr"):
        prepare(config, [corpora[0], corpora[0]])
    with pytest.raises(VocabularyError, match="does not exist"):
        prepare(dataclasses.replace(config, vocabulary="none/here"), corpora)
    assert not pathlib.Path(config.store).exists()


def test_errors_of_worker_processes_are_found_in_their_trace():
    trace = RuntimeError(
        "Traceback ...\n  File x\nnmt5.core.errors.StorageError: writing /s: the disk is full "
        "[while running 'write']\n\nFull trace"
    )
    found = prepare_module._user_error_within(trace)
    assert type(found) is StorageError and str(found) == "writing /s: the disk is full"
    assert prepare_module._user_error_within(RuntimeError("a defect")) is None


def test_a_named_runner_gets_its_options_and_writes_the_same_bytes(config, corpora, tmp_path):
    prepare(config, corpora)
    options = ("--direct_running_mode=multi_threading", "--direct_num_workers=3")
    other = dataclasses.replace(
        config, store=str(tmp_path / "r"), runner="FnApiRunner", runner_options=options
    )
    assert prepare_module._beam_options(other) == ["--runner=FnApiRunner", *options]
    prepare(other, corpora)
    assert contents(other.store) == contents(config.store)


@pytest.mark.slow
def test_worker_processes_write_the_same_bytes(config, corpora, tmp_path):
    prepare(config, corpora)
    options = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    for number, runner in enumerate((prepare_module.LOCAL_RUNNER, "FnApiRunner")):
        other = dataclasses.replace(
            config, store=str(tmp_path / f"{number}"), runner=runner, runner_options=options
        )
        prepare(other, corpora)
        assert contents(other.store) == contents(config.store)


def break_line(path, number):
    lines = path.read_text().split("\n")
    lines[number - 1] = "one column"
    path.write_text("\n".join(lines))


@pytest.fixture
def files(tmp_path, toy_sentences):
    """Corpora of files, one behind a filter."""
    for number in range(3):
        pairs = zip(toy_sentences(200, seed=number), toy_sentences(200, seed=9))
        (tmp_path / f"{number}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    paths = tuple(str(tmp_path / f"{number}.tsv") for number in range(3))
    source = TsvSource(languages=("en", "fr"), files={"train": paths}, columns=(0, 1))
    alone = TsvSource(languages=("fr",), files={"train": paths[:1]}, columns=(1,))
    return [
        Corpus(name="pair", source=source),
        Corpus(name="text", source=filtered(alone, min_characters=3)),
    ]


@pytest.fixture
def elsewhere(monkeypatch):
    """Lets only worker processes tokenise and write."""
    monkeypatch.setattr(prepare_module, "_LARGE_BYTES", 1)
    monkeypatch.delattr(prepare_steps, "_write_runs")
    monkeypatch.delattr(prepare_steps.runs, "read_run")


def test_much_text_goes_through_processes_to_the_same_bytes(config, files, tmp_path, request):
    prepare(config, files)
    request.getfixturevalue("elsewhere")
    other = dataclasses.replace(config, store=str(tmp_path / "other"), shard_bytes=5000)
    prepare(other, files)
    one = dataclasses.replace(config, store=str(tmp_path / "one"), shard_bytes=5000, num_workers=1)
    request.getfixturevalue("monkeypatch").undo()
    prepare(one, files)
    assert contents(other.store) == contents(one.store)
    assert sorted(records(other.store, "pair")) == sorted(records(config.store, "pair"))


def test_faults_in_processes_are_those_of_threads(config, files, tmp_path, elsewhere):
    break_line(tmp_path / "1.tsv", 7)
    with pytest.raises(DataError, match=r"1 of 2 corpora failed.*\n.*1\.tsv: line 7: 1 columns"):
        prepare(config, files)
    assert store.list_corpora(config.store) == ["text"]


def test_what_no_file_holds_stays_in_this_process(config, corpora, files, monkeypatch):
    monkeypatch.setattr(prepare_module, "_LARGE_BYTES", 1)
    tokenised = []
    within = prepare_steps._tokenise
    monkeypatch.setattr(
        prepare_steps, "_tokenise", lambda *args: tokenised.append(args[1]) or within(*args)
    )
    prepare(config, corpora + files)
    assert {unit.corpus.name for unit in tokenised} == {"text.fr", "pair.en-fr"}


class OwnSource(TsvSource):
    """A class that worker processes would have to import this module for."""


def test_the_bytes_of_files_decide(files, corpora):
    def file_bytes(source):
        return prepare_module._file_bytes(prepare_module._source_identity(source))

    own = OwnSource(**vars(files[0].source))
    assert not own.needs_files_alone and not filtered(own).needs_files_alone
    paths = [path for paths in files[0].source.files.values() for path in paths]
    assert file_bytes(files[0].source) == sum(map(os.path.getsize, paths))
    one = os.path.getsize(paths[0])
    assert file_bytes(files[1].source) == file_bytes(filtered(files[1].source)) == one
    assert file_bytes(corpora[0].source) == 0


FULL_DISK = """
import resource, sys
from nmt5.core.errors import StorageError
from nmt5.data import prepare
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.tsv import TsvSource
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
prepare._LARGE_BYTES = int(sys.argv[4])
source = TsvSource(languages=("en", "fr"), files={"train": sys.argv[3]}, columns=(0, 1))
try:
    prepare.prepare(
        prepare.PrepareConfig(store=sys.argv[1], vocabulary=sys.argv[2]),
        [Corpus(name="pair", source=source)],
    )
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("large", [1, 2**40])
def test_a_run_that_finds_no_room(config, files, tmp_path, large):
    """In a worker process and in a thread; a limit on the size of files stands for a full disk."""
    arguments = (config.store, config.vocabulary, str(tmp_path / "0.tsv"), str(large))
    found = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *arguments],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # half a compiled module would stay
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert re.search(r"\n  writing: .*/runs/0-0: .*\(File too large\)$", found.stdout)
    assert "Traceback" not in found.stderr
    assert os.listdir(config.store) == [".prepare.lock"]


@pytest.mark.parametrize("what", ["write_text", "store.write_corpus_info"])
def test_no_room_for_what_is_written_last(config, corpora, monkeypatch, capsys, what):
    """A list of runs, or a corpus's description."""
    owner, name = (prepare_steps.store, what[6:]) if "." in what else (prepare_steps, what)

    def fail(*_):
        raise StorageError(f"{name}: the disk is full")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(StorageError, match=f"2 of 2 corpora failed.*\n  {name}: the disk is full$"):
        prepare(config, corpora)
    assert "Traceback" not in capsys.readouterr().err
    assert store.list_corpora(config.store) == []
