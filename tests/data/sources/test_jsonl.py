from collections import Counter
import gzip
import json

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.jsonl import JsonlSource
from nmt5.data.sources.scores import ScoreLimit


def source(tmp_path, lines, **settings):
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    settings = {"languages": ("fr",), **settings}
    return JsonlSource(files={"train": "x.jsonl.gz"}, root=str(tmp_path), **settings)


def read(made, dropped=None):
    dropped = Counter() if dropped is None else dropped
    return [tuple(e.values()) for e in made.read("train", "x.jsonl.gz", dropped)]


def test_text_with_newlines_and_line_separators(tmp_path):
    lines = [{"text": "a\nb\u2028c", "url": "u"}, "\n", {"text": "d"}]
    assert read(source(tmp_path, lines)) == [("a\nb\u2028c",), ("d",)]


def test_nested_fields_and_scores(tmp_path):
    lines = [
        {"translation": {"en": "one", "fr": "un"}, "score": 1.2},
        {"translation": {"en": "two", "fr": "deux"}, "score": 0.5},
    ]
    fields = {"languages": ("en", "fr"), "fields": ("translation.en", "translation.fr")}
    assert read(source(tmp_path, lines, **fields)) == [("one", "un"), ("two", "deux")]
    dropped = Counter()
    limit = ScoreLimit(column="score", least=1)
    assert read(source(tmp_path, lines, **fields, score=limit), dropped) == [("one", "un")]
    assert dropped == {"low score": 1}


@pytest.mark.parametrize(
    "line, message",
    [
        ("{broken\n", r"line 2: not JSON \(Expecting"),
        ("[1]\n", "line 2: list, expected a JSON object"),
        ({"texte": "x"}, "line 2: field 'text': unknown field 'text'; nearest: 'texte'"),
        ({"text": 3}, "line 2: field 'text' is int, expected text"),
        ({"text": None}, "line 2: field 'text' is NoneType"),
    ],
)
def test_bad_lines_are_named_or_counted(tmp_path, line, message):
    lines = [{"text": "a"}, line, {"text": "b"}]
    with pytest.raises(DataError, match=message):
        read(source(tmp_path, lines))
    dropped = Counter()
    assert read(source(tmp_path, lines, on_bad_line="drop"), dropped) == [("a",), ("b",)]
    assert dropped == {"bad JSON or field": 1}


def test_wrong_settings(tmp_path):
    with pytest.raises(ConfigError, match="1 fields for 2 languages"):
        source(tmp_path, [], languages=("en", "fr"))
