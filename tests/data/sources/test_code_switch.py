"""Words of one side are switched by rate, reproducibly, and nothing else is touched."""

from collections import Counter

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.data.sources.code_switch import code_switched, switch_words
from nmt5.data.sources.tsv import TsvSource

SENTENCES = [(f"the dog number {n} sees a house", f"le chien {n} voit le house") for n in range(99)]


@pytest.fixture
def dictionary(tmp_path):
    (tmp_path / "en-de.tsv").write_text("dog\tHund\nHouse\tHaus\nhouse\tHeim\nhouse\thouse\n\tx\n")
    return TsvSource(
        languages=("en", "de"), files={"train": "en-de.tsv"}, columns=(0, 1), root=str(tmp_path)
    )


@pytest.fixture
def pairs(tmp_path):
    text = "".join(f"{a}\t{b}\n" for a, b in SENTENCES)
    (tmp_path / "pairs.tsv").write_text(text)
    return TsvSource(
        languages=("en", "fr"),
        files={"train": "pairs.tsv", "validation": "pairs.tsv"},
        columns=(0, 1),
        root=str(tmp_path),
    )


def read(source, split="train"):
    (shard,) = source.shards(split)
    return list(source.read(split, shard, Counter()))


def test_only_words_of_the_dictionary_in_that_language(dictionary, pairs):
    found = read(code_switched(pairs, dictionaries=(dictionary,), switched="en", rate=1.0))
    assert [x["fr"] for x in found] == [b for _, b in SENTENCES]
    forms = {x["en"].replace(str(n), "N") for n, x in enumerate(found)}
    assert forms == {
        "the Hund number N sees a Haus",
        "the Hund number N sees a Heim",
    }


def test_rate_and_reproducibility(dictionary, pairs):
    make = {"dictionaries": (dictionary,), "switched": "en"}
    found = read(code_switched(pairs, **make))
    switched = sum("Hund" in x["en"] for x in found) + sum("house" not in x["en"] for x in found)
    assert 0.2 < switched / (2 * len(found)) < 0.4
    assert found == read(code_switched(pairs, **make))
    assert found != read(code_switched(pairs, seed=1, **make))


def test_held_out_text_stays(dictionary, pairs):
    source = code_switched(pairs, dictionaries=(dictionary,), switched="en", rate=1.0)
    assert read(source, "validation") == read(pairs, "validation")
    assert source.splits() == pairs.splits() and len(source.file_states()) == 3


def test_punctuation_and_unknown_words_stay():
    text = "Dog-house: 'dog' doghouse\u2028 3dog"
    table = {"dog": ("D",)}
    found = switch_words(text, np.random.default_rng(0), translations=table, rate=1.0)
    assert found == "D-house: 'D' doghouse\u2028 3dog"


def test_what_cannot_be(dictionary, pairs, tmp_path):
    with pytest.raises(ConfigError, match="rate 0, expected"):
        code_switched(pairs, dictionaries=(dictionary,), switched="en", rate=0)
    with pytest.raises(ConfigError, match="unknown language 'de'"):
        code_switched(pairs, dictionaries=(dictionary,), switched="de")
    with pytest.raises(ConfigError, match="expected 'fr' and another"):
        code_switched(pairs, dictionaries=(dictionary,), switched="fr")
    with pytest.raises(ConfigError, match="no dictionary"):
        code_switched(pairs, dictionaries=(), switched="en")
    (tmp_path / "en-de.tsv").write_text("same\tsame\n")
    with pytest.raises(DataError, match="no word of 'en'"):
        read(code_switched(pairs, dictionaries=(dictionary,), switched="en", seed=7))
    (tmp_path / "en-de.tsv").unlink()
    with pytest.raises(StorageError, match="en-de.tsv does not exist"):
        read(code_switched(pairs, dictionaries=(dictionary,), switched="en", seed=8))
