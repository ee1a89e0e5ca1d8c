"""The tables of public corpora: sizes, paths, and what a missing file's message says."""

from collections import Counter
import dataclasses
import importlib

import pytest

from nmt5.core.errors import StorageError
from nmt5.data import ccmatrix, mc4, opus100
from nmt5.data.language_sampling import alpha_weights
from nmt5.data.languages import ENGLISH_NAMES


def corpora():
    return [opus100.opus100_corpus(code) for code in opus100.TRAIN_PAIRS]


def test_opus100_has_its_pairs():
    assert len(opus100.TRAIN_PAIRS) == 99
    assert sum(opus100.TRAIN_PAIRS.values()) == 54_656_433
    assert sum(size == 1_000_000 for size in opus100.TRAIN_PAIRS.values()) == 44
    assert len({corpus.name for corpus in corpora()}) == 99
    held_out = [c for c in corpora() if c.source.splits() == ("train", "validation", "test")]
    assert len(held_out) == 94
    assert {c.source.languages[0] for c in corpora()} == {"en"}


def test_sampling_of_its_pairs_is_the_papers():
    sizes = opus100.TRAIN_PAIRS
    weights = alpha_weights(sizes, languages={code: code for code in sizes}, alpha=0.3)
    assert f"{weights['fr']:.2%} {weights['dz']:.2%}" == "1.37% 0.15%"


def test_hebrew_is_iw_here_and_he_in_the_files(tmp_path):
    directory = tmp_path / opus100.DIRECTORY / "en-he"
    directory.mkdir(parents=True)
    (directory / "opus.en-he-train.en").write_text("peace\nbread\n")
    (directory / "opus.en-he-train.he").write_text("שלום\nלחם\n")
    corpus = opus100.opus100_corpus("he")
    source = corpus.source
    source = dataclasses.replace(source, root=str(tmp_path))
    (shard,) = source.shards("train")
    assert list(source.read("train", shard, Counter())) == [
        {"en": "peace", "iw": "שלום"},
        {"en": "bread", "iw": "לחם"},
    ]
    assert corpus.name == "opus100.en-iw"


def test_a_missing_file_is_named_with_its_origin(tmp_path, monkeypatch):
    monkeypatch.setenv("NMT5_DATA", str(tmp_path))
    source = opus100.opus100_corpus("af").source
    with pytest.raises(StorageError) as raised:
        list(source.read("train", source.shards("train")[0], Counter()))
    message = str(raised.value)
    path = "opus-100-corpus/v1.0/supervised/af-en/opus.af-en-train.en"
    assert f"{tmp_path}/{path} does not exist" in message
    assert "OPUS-100/v1.0/opus-100-corpus-af-en-v1.0.tar.gz" in message


def test_mc4_has_the_languages_of_tfds():
    tfds = importlib.import_module("tensorflow_datasets")
    known = [code for code in tfds.text.c4.MC4_LANGUAGES if not code.endswith("-Latn")]
    assert list(mc4.LANGUAGES) == known and len(known) == 101
    assert set(known) <= set(ENGLISH_NAMES)
    name, version = mc4.DATASET.split(":")
    config = next(c for c in tfds.text.c4.C4.BUILDER_CONFIGS if c.name == name.split("/")[1])
    assert str(config.version) == version and set(known) <= set(config.languages)
    assert mc4.mc4_corpus("iw").source.tfds_splits["validation"] == "iw-validation"


def test_ccmatrix_files_are_in_alphabetical_order():
    corpus = ccmatrix.ccmatrix_corpus("ru", "en")
    assert corpus == ccmatrix.ccmatrix_corpus("en", "ru") and corpus.name == "ccmatrix.en-ru"
    source = ccmatrix.ccmatrix_corpus("de", "en").source
    assert source.languages == ("en", "de")
    assert source.paths(source.files["train"][0])[0].endswith("de-en/CCMatrix.de-en.en")
