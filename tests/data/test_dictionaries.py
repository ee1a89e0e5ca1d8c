"""Dictionaries from text to ids and through the store, and what they match in encoded text."""

import logging

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError, VocabularyError
from nmt5.data.dictionaries import Dictionary, encoded, stored, word_edges
from nmt5.data.objectives.substitution import substitute
from nmt5.data.sources.tsv import TsvSource
from nmt5.data.token_dictionary import DIRECTORY, TokenDictionary, read_dictionary
from nmt5.data.vocabulary import Vocabulary


def dictionary(directory, text, *, name="words", language="en"):
    (directory / "en-de.tsv").write_text(text)
    source = TsvSource(
        languages=("en", "de"), files={"train": "en-de.tsv"}, columns=(0, 1), root=str(directory)
    )
    return Dictionary(name=name, language=language, sources=(source,))


@pytest.fixture(params=["pieces", "bytes"])
def vocabulary(request, toy_vocabulary):
    return Vocabulary.load("bytes" if request.param == "bytes" else toy_vocabulary)


def replaced(text, words, vocabulary, *, rate=1.0, seed=0):
    ids = np.array(vocabulary.encode(text), np.int32)
    made = substitute(ids, np.random.default_rng(seed), dictionary=words, rate=rate)
    return vocabulary.decode(made.tolist())


def test_words_of_a_text_are_replaced(tmp_path, vocabulary):
    words = encoded(dictionary(tmp_path, "doga\tHunda\nbigu doga\tDoggo\nkusa\tKuss\n"), vocabulary)
    assert len(words) == 6, "each also with a capital"
    for text, expected in [
        ("ta doga sa kusa", "ta Hunda sa Kuss"),
        ("Doga, doga!", "Hunda, Hunda!"),
        ("dogasa tadoga doga-kusa", "dogasa tadoga Hunda-kusa"),
        ("ta bigu doga doga", "ta Doggo Hunda"),
    ]:
        if vocabulary.model_path == "bytes":
            # Without a mark before words, one behind a hyphen is found as well.
            expected = expected.replace("-kusa", "-Kuss")
        assert replaced(text, words, vocabulary) == expected
    assert replaced("nothing here", words, vocabulary) == "nothing here"


def test_several_translations_and_languages(tmp_path, vocabulary):
    one = dictionary(tmp_path, "doga\tHunda\n")
    (tmp_path / "fr.tsv").write_text("chien\tdoga\n")
    source = TsvSource(
        languages=("fr", "en"), files={"train": "fr.tsv"}, columns=(0, 1), root=str(tmp_path)
    )
    both = Dictionary(name="two", language="en", sources=(*one.sources, source))
    words = encoded(both, vocabulary)
    found = {replaced("ta doga", words, vocabulary, seed=seed) for seed in range(20)}
    assert found == {"ta Hunda", "ta chien"}


def test_entries_that_say_nothing_are_counted(tmp_path, vocabulary, caplog):
    text = "doga\tHunda\nsame\tSame\n\tx\ny\t\n"
    with caplog.at_level(logging.WARNING):
        assert len(encoded(dictionary(tmp_path, text, name="counted"), vocabulary)) == 2
    assert "dictionary 'counted': entries left out: 2 empty, 1 identical" in caplog.text
    with pytest.raises(DataError, match="'none': it has no word of 'en'"):
        encoded(dictionary(tmp_path, "same\tsame\n", name="none"), vocabulary)


def test_through_the_store(tmp_path, vocabulary):
    given = dictionary(tmp_path, "doga\tHunda\ndoga\tKoter\nkusa\tKuss\n")
    reference = stored(given, store=tmp_path / "store", vocabulary=vocabulary)
    assert stored(given, store=tmp_path / "store", vocabulary=vocabulary) == reference
    found = read_dictionary(str(tmp_path / "store"), reference, vocabulary=vocabulary.fingerprint)
    made = encoded(given, vocabulary)
    assert found.fingerprint == made.fingerprint and reference.endswith(made.fingerprint[:16])
    texts = ["ta doga sa kusa"] * 9
    assert [replaced(t, found, vocabulary, seed=s) for s, t in enumerate(texts)] == [
        replaced(t, made, vocabulary, seed=s) for s, t in enumerate(texts)
    ]
    other = dictionary(tmp_path, "doga\tHunda\n", name="other")
    assert stored(other, store=tmp_path / "store", vocabulary=vocabulary) != reference


def test_files_that_cannot_be_used(tmp_path, vocabulary):
    given = dictionary(tmp_path, "doga\tHunda\n")
    store = tmp_path / "store"
    reference = stored(given, store=store, vocabulary=vocabulary)
    path = store / DIRECTORY / f"{reference}.npz"

    def read(name=reference, fingerprint=vocabulary.fingerprint):
        read_dictionary.cache_clear()
        return read_dictionary(str(store), name, vocabulary=fingerprint)

    with pytest.raises(VocabularyError, match="was made with vocabulary .* has 000000000000"):
        read(fingerprint="0" * 64)
    with pytest.raises(DataError, match=r"nothing\.npz does not exist; run `nmt5 prepare`"):
        read("nothing")
    content = path.read_bytes()
    path.with_name("words-0000.npz").write_bytes(content)
    with pytest.raises(DataError, match="not the one in its name"):
        read("words-0000")
    middle = len(content) // 2
    for damaged in (content[:middle], b"", content[:middle] + b"xx" + content[middle + 2 :]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read|is damaged|not the one in its name"):
            read()


def test_definitions_that_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match=r"holds \('en', 'de'\), expected 'fr' and another"):
        dictionary(tmp_path, "", language="fr")
    with pytest.raises(ConfigError, match="dictionary name 'a/b'"):
        dictionary(tmp_path, "", name="a/b")
    with pytest.raises(ConfigError, match="it has no source"):
        Dictionary(name="x", language="en", sources=())


def test_a_missing_file_is_named(tmp_path, vocabulary):
    given = dictionary(tmp_path, "", name="gone")
    (tmp_path / "en-de.tsv").unlink()
    with pytest.raises(StorageError, match=r"en-de\.tsv does not exist"):
        encoded(given, vocabulary)


def test_edges_of_pieces(vocabulary):
    begins, ends = word_edges(vocabulary)
    ids = vocabulary.encode("doga, doga")
    assert len(begins) == len(ends) == vocabulary.token_ids.size
    comma = next(i for i, token in enumerate(ids) if vocabulary.decode([token]) == ",")
    assert not begins[ids[comma]] and not ends[ids[comma]] and ends[ids[comma - 1]]
    assert not begins[vocabulary.token_ids.eos]


def test_an_empty_dictionary_finds_nothing():
    assert TokenDictionary.empty(50).find(np.arange(50)) == []
