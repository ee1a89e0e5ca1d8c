from collections import Counter
import zipfile

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.tmx import TmxSource

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
    '<tmx version="1.4">\n'
)


def unit(*variants):
    inner = "".join(f'<tuv xml:lang="{lang}"><seg>{seg}</seg></tuv>\n' for lang, seg in variants)
    return f"<tu>\n{inner}</tu>\n"


def source(tmp_path, *units, text=None, **settings):
    text = text or f"{HEAD}<header/><body>\n{''.join(units)}</body></tmx>\n"
    (tmp_path / "x.tmx").write_text(text, encoding="utf-8")
    settings = {"languages": ("en", "fr"), "files": {"train": "x.tmx"}, **settings}
    return TmxSource(root=str(tmp_path), **settings)


def read(made, dropped=None):
    dropped = Counter() if dropped is None else dropped
    (shard,) = made.shards("train")
    return [tuple(example.values()) for example in made.read("train", shard, dropped)]


def test_variants_are_found_by_language_then_region(tmp_path):
    made = source(
        tmp_path,
        unit(("EN-us", "One"), ("fr", "Un")),
        unit(("en_GB", "Colour"), ("en", "Color"), ("fr-CA", "Couleur"), ("de", "Farbe")),
        unit(("en", "no French"), ("frr", "not French")),
        unit(("en", " "), ("fr", "vide")),
    )
    dropped = Counter()
    assert read(made, dropped) == [("One", "Un"), ("Color", "Couleur")]
    assert dropped == {"no fr variant": 1, "empty": 1}


def test_markup_is_left_out_and_white_space_joined(tmp_path):
    text = (
        'Press <bpt i="1">&lt;b&gt;</bpt>the <hi>red</hi>\n'
        '  key<ept i="1">&lt;/b&gt;</ept> &amp; go'
    )
    assert read(source(tmp_path, unit(("en", text), ("fr", "x")))) == [
        ("Press the red key & go", "x")
    ]


def test_one_language_and_codes_of_the_file(tmp_path):
    made = source(tmp_path, unit(("zh_CN", "一"), ("en", "one")), languages=("zh",))
    assert read(made) == [("一",)]
    made = source(tmp_path, unit(("nb", "en"), ("en", "one")), languages=("no",), codes=("nb",))
    assert read(made) == [("en",)]
    with pytest.raises(ConfigError, match="1 codes for 2 languages"):
        source(tmp_path, codes=("nb",))


def test_faults_have_a_place(tmp_path):
    whole = f"{HEAD}<body>\n{unit(('en', 'a'), ('fr', 'b'))}{unit(('en', 'a'), ('fr', 'b'))}"
    with pytest.raises(DataError, match=r"x\.tmx: line 13, column 1: not well-formed XML"):
        read(source(tmp_path, text=whole))
    with pytest.raises(DataError, match=r"x\.tmx: line 2, column \d+: not well-formed XML"):
        read(source(tmp_path, text="<tmx>\n<body> a & b </body></tmx>"))
    with pytest.raises(DataError, match=r"x\.tmx: <html>, expected <tmx>"):
        read(source(tmp_path, text="<html></html>"))


def test_zipped_and_many(tmp_path):
    made = source(
        tmp_path,
        *(unit(("en", f"e{i}"), ("fr", f"f{i}")) for i in range(3000)),
        files={"train": "x.zip"},
    )
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "x.tmx", "en-fr.tmx")
    assert read(made) == [(f"e{i}", f"f{i}") for i in range(3000)]
