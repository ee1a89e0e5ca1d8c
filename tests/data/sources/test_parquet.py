from collections import Counter

import pyarrow
from pyarrow import parquet
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.parquet import ParquetSource
from nmt5.data.sources.scores import ScoreLimit


def source(tmp_path, table, **settings):
    parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet", row_group_size=2)
    settings = {"languages": ("fr",), **settings}
    return ParquetSource(files={"train": "x.parquet"}, root=str(tmp_path), **settings)


def read(made, dropped=None):
    dropped = Counter() if dropped is None else dropped
    return [tuple(e.values()) for e in made.read("train", "x.parquet", dropped)]


def test_columns_of_the_hub_with_nulls(tmp_path):
    table = {
        "translation": [
            {"en": "one", "fr": "un"},
            None,
            {"en": "three", "fr": None},
            {"en": "four", "fr": "quatre"},
        ],
        "score": [1.0, 2.0, 3.0, 0.2],
    }
    fields = {"languages": ("en", "fr"), "columns": ("translation.en", "translation.fr")}
    dropped = Counter()
    assert read(source(tmp_path, table, **fields), dropped) == [("one", "un"), ("four", "quatre")]
    assert dropped == {"empty": 2}
    dropped = Counter()
    limit = ScoreLimit(column="score", least=0.5)
    assert read(source(tmp_path, table, **fields, score=limit), dropped) == [("one", "un")]
    assert dropped == {"empty": 2, "low score": 1}


def test_plain_text_column(tmp_path):
    assert read(source(tmp_path, {"text": ["a\nb", "c"]})) == [("a\nb",), ("c",)]


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match=r"x\.parquet: unknown column 'text'; nearest: 'texts'"):
        read(source(tmp_path, {"texts": ["a"]}))
    with pytest.raises(DataError, match=r"x\.parquet: row 1: field 'text' is int"):
        read(source(tmp_path, {"text": [3]}))
    made = source(tmp_path, {"text": ["a"] * 100})
    path = tmp_path / "x.parquet"
    for content in (path.read_bytes()[:-20], b"text"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.parquet: not a Parquet file, or damaged"):
            read(made)
    with pytest.raises(ConfigError, match="1 columns for 2 languages"):
        source(tmp_path, {"text": ["a"]}, languages=("en", "fr"))
