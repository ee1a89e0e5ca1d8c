"""Sources under `gs://` paths, with a directory in the bucket's place.

Where TensorFlow is installed etils.epath would take its driver, which cannot be replaced.
"""

from collections import Counter
import gzip
import zipfile

from etils.epath import backend, gpath
import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
import pytest

from nmt5.core.errors import StorageError
from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.moses import MosesSource
from nmt5.data.sources.tmx import TmxSource
from nmt5.data.sources.tsv import TsvSource
from nmt5.data.sources.watched_files import state_of, watched


class Bucket(DirFileSystem):
    """A directory that stands where `gs://` does."""

    def _join(self, path):
        return super()._join(path.removeprefix("gs://") if isinstance(path, str) else path)


@pytest.fixture(autouse=True)
def drivers_of_fsspec(monkeypatch):
    monkeypatch.setenv("EPATH_USE_TF", "0")
    for cached in (gpath._is_tf_installed, backend.fsspec_backend._get_filesystem):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in (gpath._is_tf_installed, backend.fsspec_backend._get_filesystem):
        cached.cache_clear()


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    (tmp_path / "bucket" / "text").mkdir(parents=True)
    found = Bucket(str(tmp_path / "bucket"), LocalFileSystem(), skip_instance_cache=True)
    monkeypatch.setattr(fsspec, "filesystem", lambda name, **options: found)
    return found


def write(bucket, name, content):
    with bucket.open(f"gs://text/{name}", "wb") as file:
        file.write(content)


def read(source):
    dropped = Counter()
    shards = source.shards("train")
    return [tuple(e.values()) for shard in shards for e in source.read("train", shard, dropped)]


def test_patterns_compressed_files_and_zip_members_are_read_from_a_bucket(bucket, tmp_path):
    write(bucket, "b.tsv", b"three\n")
    write(bucket, "a.tsv", b"one\ntwo\n")
    write(bucket, "c.tsv.gz", gzip.compress(b"vier\n"))
    by_pattern = TsvSource(
        languages=("fr",), columns=(0,), files={"train": ("*.tsv", "c.tsv.gz")}, root="gs://text"
    )
    assert read(by_pattern) == [("one",), ("two",), ("three",), ("vier",)]
    assert len(by_pattern.file_states()) == 3

    write(bucket, "x.en", b"a\nb\n")
    write(bucket, "x.fr", b"c\nd\n")
    pairs = MosesSource(languages=("en", "fr"), files={"train": "gs://text/x.{language}"})
    assert read(pairs) == [("a", "c"), ("b", "d")]

    tmx = (
        '<tmx version="1.4"><body><tu><tuv xml:lang="en"><seg>a</seg></tuv>'
        '<tuv xml:lang="fr"><seg>b</seg></tuv></tu></body></tmx>'
    )
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("one.tmx", tmx)
        archive.writestr("two.tmx", tmx)
    write(bucket, "x.zip", (tmp_path / "x.zip").read_bytes())
    member = TmxSource(languages=("en", "fr"), files={"train": "gs://text/x.zip::two.tmx"})
    assert read(member) == [("a", "b")]


def test_a_bucket_is_prepared_into_a_local_store(bucket, tmp_path, toy_vocabulary, toy_sentences):
    write(bucket, "a.tsv", "\n".join(toy_sentences(30)).encode())
    source = TsvSource(languages=("fr",), columns=(0,), files={"train": "gs://text/*.tsv"})
    config = PrepareConfig(store=str(tmp_path / "store"), vocabulary=str(toy_vocabulary))
    corpus = Corpus(name="bucket.fr", source=source)
    assert prepare(config, [corpus]).corpora["bucket.fr"].splits["train"].examples == 30
    assert prepare(config, [corpus]).kept == ("bucket.fr",)
    (entry,) = watched(source)
    before = state_of(entry)
    write(bucket, "b.tsv", b"ba be\n")
    assert state_of(entry) != before
    assert prepare(config, [corpus]).rebuilt == ("bucket.fr",)


def test_what_is_missing_is_named_with_its_address(bucket):
    made = TsvSource(languages=("fr",), columns=(0,), files={"train": "gs://text/none.tsv"})
    with pytest.raises(StorageError, match=r"gs://text/none\.tsv does not exist"):
        read(made)
    made = TsvSource(languages=("fr",), columns=(0,), files={"train": "gs://text/*.tsv"})
    with pytest.raises(StorageError, match=r"nothing matches gs://text/\*\.tsv"):
        made.shards("train")


@pytest.mark.parametrize(
    "path, message",
    [
        ("gs://text/a.tsv", r"gs://text/a\.tsv: it cannot be reached \(ImportError: .*gcsfs"),
        ("gs://text/*.tsv", r"gs://text/\*\.tsv: it cannot be reached .*copy the files"),
        ("memory://a.tsv", r"unknown scheme 'memory://', expected .*gs://, s3://"),
    ],
)
def test_a_scheme_without_its_driver_is_a_users_error(path, message, monkeypatch):
    def not_installed(name, **options):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "filesystem", not_installed)
    made = TsvSource(languages=("fr",), columns=(0,), files={"train": path})
    with pytest.raises(StorageError, match=message):
        read(made)
