from collections import Counter
import pathlib

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.scores import ScoreLimit
from nmt5.data.sources.tsv import TsvSource

SHARED = pathlib.Path(__file__).parents[3].parent / "shared" / "data"


def source(tmp_path, text, *, languages=("en", "fr"), columns=(1, 2), **settings):
    (tmp_path / "x.tsv").write_text(text, encoding="utf-8")
    return TsvSource(
        languages=languages,
        files={"train": "x.tsv"},
        columns=columns,
        root=str(tmp_path),
        **settings,
    )


def read(made, dropped=None):
    dropped = Counter() if dropped is None else dropped
    return [
        tuple(example.values())
        for shard in made.shards("train")
        for example in made.read("train", shard, dropped)
    ]


def test_columns_by_number_and_by_name(tmp_path):
    text = 'id\tfr\ten\n1\tUn "deux"\tOne\n2\t\tTwo\n'
    assert read(source(tmp_path, text, columns=(2, 1)))[1:] == [("One", 'Un "deux"'), ("Two", "")]
    named = source(tmp_path, text, columns=("en", "fr"), header=True)
    assert read(named) == [("One", 'Un "deux"'), ("Two", "")]
    one = source(tmp_path, text, languages=("fr",), columns=("fr",), header=True)
    assert read(one) == [('Un "deux"',), ("",)]


def test_missing_columns_are_named_or_counted(tmp_path):
    text = "a\tb\tc\nd\te\nf\tg\th\ti\n"
    with pytest.raises(DataError, match=r"x\.tsv: line 2: 2 columns, expected at least 3"):
        read(source(tmp_path, text))
    dropped = Counter()
    assert read(source(tmp_path, text, on_bad_line="drop"), dropped) == [("b", "c"), ("g", "h")]
    assert dropped == {"missing column": 1}
    with pytest.raises(DataError, match=r"line 1: unknown column 'Fr'; nearest: 'fr'"):
        read(source(tmp_path, "en\tfr\n", columns=("en", "Fr"), header=True))
    with pytest.raises(DataError, match="line 1: expected a header, found none"):
        read(source(tmp_path, "", columns=("en", "fr"), header=True))


def test_line_numbers_count_the_header(tmp_path):
    with pytest.raises(DataError, match="line 3: 1 columns"):
        read(source(tmp_path, "en\tfr\na\tb\nc\n", columns=("en", "fr"), header=True))


def test_lines_are_numbered_through_all_blocks_of_a_file(tmp_path):
    """Over a megabyte, so more than is read at once; every fault is one line's."""
    lines = ["en\tfr", *(f"{i}\t{'x' * 60}{i}" for i in range(40_000))]
    lines[30_000] = "no tab"
    settings = {"columns": ("en", "fr"), "header": True}
    with pytest.raises(DataError, match=r"x\.tsv: line 30001: 1 columns"):
        read(source(tmp_path, "\n".join(lines), **settings))
    dropped = Counter()
    found = read(source(tmp_path, "\n".join(lines), on_bad_line="drop", **settings), dropped)
    assert [int(en) for en, _ in found] == [i for i in range(40_000) if i != 29_999]
    assert dropped == {"missing column": 1}


def test_scores(tmp_path):
    text = "1.2\ta\tb\n1.05\tc\td\n0.9\te\tf\n"
    dropped = Counter()
    kept = source(tmp_path, text, score=ScoreLimit(column=0, least=1.05))
    assert read(kept, dropped) == [("a", "b"), ("c", "d")] and dropped == {"low score": 1}
    with pytest.raises(DataError, match=r"line 1: score '1' is 'a', expected a number"):
        read(source(tmp_path, text, score=ScoreLimit(column=1, least=1)))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"columns": (1,)}, "1 columns for 2 languages"),
        ({"columns": ("en", "fr")}, "column 'en' is a name, but header is False"),
        ({"columns": (0, -1)}, "column -1: columns count from 0"),
    ],
)
def test_wrong_settings(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        source(tmp_path, "", **settings)


@pytest.mark.skipif(not (SHARED / "pydocs").is_dir(), reason="needs the shared text")
def test_real_documentation():
    made = TsvSource(
        languages=("en", "fr"),
        files={"train": "pydocs/en-fr.tsv.gz"},
        columns=(1, 2),
        root=str(SHARED),
    )
    examples = read(made)
    assert len(examples) > 1000
    assert all(len(example) == 2 and example[0] for example in examples)


@pytest.mark.skipif(not (SHARED / "bible").is_dir(), reason="needs the shared text")
def test_real_bible():
    made = TsvSource(
        languages=("en",), files={"train": "bible/eng_k*.tsv.gz"}, columns=(1,), root=str(SHARED)
    )
    assert read(made)[0] == ("In the beginning God created the heaven and the earth.",)
