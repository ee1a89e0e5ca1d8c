from collections import Counter
import pathlib

import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.data.sources.moses import MosesSource

SHARED = pathlib.Path(__file__).parents[3].parent / "shared" / "data"


def source(tmp_path, english, french, **settings):
    (tmp_path / "x.en").write_bytes(english)
    (tmp_path / "x.fr").write_bytes(french)
    settings = {"files": {"train": "x.{language}"}, **settings}
    return MosesSource(languages=("en", "fr"), root=str(tmp_path), **settings)


def read(made, dropped=None):
    dropped = Counter() if dropped is None else dropped
    return [
        tuple(example.values())
        for shard in made.shards("train")
        for example in made.read("train", shard, dropped)
    ]


def test_lines_stay_in_step_over_other_line_ends(tmp_path):
    english, french = "a\u2028b\nc\x85d\ne\n".encode(), b"A\nB\nC"
    assert read(source(tmp_path, english, french)) == [
        ("a\u2028b", "A"),
        ("c\x85d", "B"),
        ("e", "C"),
    ]


@pytest.mark.parametrize("english, french", [(5, 3), (2, 9), (1, 0)])
def test_unequal_lengths_are_an_error(tmp_path, english, french):
    made = source(tmp_path, b"a\n" * english, b"b\n" * french)
    with pytest.raises(DataError) as error:
        read(made)
    message = str(error.value)
    assert f"x.en has {english} lines" in message and f"x.fr has {french}" in message


def test_empty_and_bad_sides_are_counted_and_keep_step(tmp_path):
    dropped = Counter()
    made = source(tmp_path, b"a\n\nc\n\xff\ne\n", b"A\nB\n\nD\nE\n", on_bad_line="drop")
    assert read(made, dropped) == [("a", "A"), ("e", "E")]
    assert dropped == {"empty": 2, "not UTF-8": 1}
    with pytest.raises(DataError, match=r"x\.en: line 4: not UTF-8"):
        read(source(tmp_path, b"a\n\nc\n\xff\ne\n", b"A\nB\n\nD\nE\n"))


def test_codes_of_the_files_and_missing_files(tmp_path):
    (tmp_path / "t.eng").write_text("one\n")
    (tmp_path / "t.fra").write_text("un\n")
    files = {"train": "t.{language}"}
    assert read(source(tmp_path, b"", b"", files=files, codes=("eng", "fra"))) == [("one", "un")]
    with pytest.raises(StorageError, match=r"t\.deu does not exist"):
        read(source(tmp_path, b"", b"", files=files, codes=("eng", "deu")))


def test_wrong_settings(tmp_path):
    with pytest.raises(ConfigError, match="path 'x.fr' has no '{language}'"):
        source(tmp_path, b"", b"", files={"train": "x.fr"})
    with pytest.raises(ConfigError, match="1 codes for 2 languages"):
        source(tmp_path, b"", b"", codes=("en",))


def test_monolingual_lines(tmp_path):
    (tmp_path / "x.txt").write_text("a\n\nb\n")
    made = MosesSource(languages=("fr",), files={"train": "x.txt"}, root=str(tmp_path))
    assert read(made) == [("a",), ("b",)]


@pytest.mark.skipif(not (SHARED / "tatoeba_retrieval").is_dir(), reason="needs the shared text")
def test_real_sentences():
    made = MosesSource(
        languages=("en", "fr"),
        files={"train": "tatoeba_retrieval/tatoeba.fra-eng.{language}"},
        codes=("eng", "fra"),
        root=str(SHARED),
    )
    examples = read(made)
    assert len(examples) == 1000 and all(all(example) for example in examples)
