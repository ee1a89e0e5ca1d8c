import dataclasses
import os
import pickle

import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.data.sources.moses import MosesSource
from nmt5.data.sources.text_files import DATA_VARIABLE, text_of
from nmt5.data.sources.tsv import TsvSource


def source(files, **settings):
    return TsvSource(languages=("fr",), files=files, columns=(0,), **settings)


def test_patterns_give_sorted_relative_shards(tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("b-1.tsv", "b-0.tsv", "c.tsv"):
        (tmp_path / "d" / name).write_text("x\n")
    found = source({"train": ("d/b-*.tsv", "d/c.tsv")}, root=str(tmp_path))
    assert found.shards("train") == ("d/b-0.tsv", "d/b-1.tsv", "d/c.tsv")
    absolute = source({"train": f"{tmp_path}/d/b-*"})
    assert absolute.shards("train") == tuple(f"{tmp_path}/d/b-{i}.tsv" for i in (0, 1))


def test_root_argument_then_environment_then_current_directory(tmp_path, monkeypatch):
    for name in ("argument", "environment", "current"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.tsv").write_text(name)

    def read(root=None):
        made = source({"train": "x.tsv"}, root=root)
        return list(made.read("train", "x.tsv", {}))[0]["fr"]

    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert read() == "current"
    assert source({"train": "*.tsv"}).shards("train") == ("x.tsv",)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "environment"))
    assert read() == "environment"
    assert read(str(tmp_path / "argument")) == "argument"


def test_nothing_is_opened_before_the_first_read(tmp_path):
    made = source({"train": "none.tsv"}, root=str(tmp_path), origin="https://example.org/x")
    assert made.splits() == ("train",) and made.shards("train") == ("none.tsv",)
    with pytest.raises(StorageError) as error:
        list(made.read("train", "none.tsv", {}))
    assert f"{tmp_path}/none.tsv does not exist; it comes from https://example.org/x" in str(
        error.value
    )
    with pytest.raises(StorageError, match="nothing matches .*[*].tsv; relative paths start at"):
        source({"train": "none/*.tsv"}).shards("train")
    with pytest.raises(DataError, match="unknown split 'test'; for example 'train'"):
        made.shards("test")


def test_states_change_with_the_files(tmp_path):
    for language in ("en", "fr"):
        (tmp_path / f"x.{language}").write_text("a\n")
    made = MosesSource(languages=("en", "fr"), files={"train": "x.{language}"}, root=str(tmp_path))
    states = made.file_states()
    assert [(path, size) for path, size, _ in states] == [("x.en", 2), ("x.fr", 2)]
    os.utime(tmp_path / "x.fr", (1, 1))
    assert made.file_states() != states
    # The root may move: the same relative names, sizes and times are the same text.
    assert str(tmp_path) not in str(states)


def test_a_source_is_a_value(tmp_path):
    made = source({"train": "x.tsv"})
    assert pickle.loads(pickle.dumps(made)) == made == source({"train": ("x.tsv",)})
    assert hash(made) == hash(dataclasses.replace(made))


def test_wrong_settings():
    with pytest.raises(ConfigError, match="names no file"):
        source({})
    with pytest.raises(ConfigError, match="names no file"):
        source({"train": ()})
    with pytest.raises(ConfigError, match="TsvSource: on_bad_line is 'skip'"):
        source({"train": "x"}, on_bad_line="skip")


def test_text_of():
    assert text_of("x", name="t", place="p") == "x"
    with pytest.raises(DataError, match="f: line 3: field 't' is int, expected text"):
        text_of(3, name="t", place="f: line 3")
