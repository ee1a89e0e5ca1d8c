import json
import shutil

from hypothesis import given
from hypothesis import strategies as st
import pytest

from nmt5.core.errors import ConfigError, StorageError, VocabularyError
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import Vocabulary, require_same
from nmt5.data.vocabulary_training import (
    VocabularyConfig,
    balanced_lines,
    texts_by_language,
    train_vocabulary,
)

SMALL = VocabularyConfig(vocab_size=460, language_codes=("fr", "zh-Hant"))


def test_ids_are_laid_out_as_in_mt5(toy_vocabulary):
    vocabulary = Vocabulary.load(toy_vocabulary)
    ids = vocabulary.token_ids
    assert (ids.size, ids.num_sentinels, ids.pad, ids.eos) == (460, 100, 0, 1)
    assert vocabulary.pieces([0, 1, 2, 3, 258]) == ["<pad>", "</s>", "<unk>", "<0x00>", "<0xFF>"]
    assert vocabulary.pieces([358, 359]) == ["▁<2fr>", "▁<2zh-Hant>"]
    assert vocabulary.pieces([360, 458, 459]) == [f"▁<extra_id_{k}>" for k in (99, 1, 0)]
    assert ids.sentinel(0) == 459 and ids.sentinel(99) == 360


def test_text_survives(toy_vocabulary):
    vocabulary = Vocabulary.load(toy_vocabulary)
    for text in ("bada lomi", "日本語", "Unseen Ω ☃ text", "<2fr> bada", "bada <extra_id_7> lomi"):
        ids = vocabulary.encode(text)
        assert 1 not in ids and 2 not in ids
        assert vocabulary.decode([*ids, 1, 5, 6]) == text
    assert vocabulary.encode("<2fr> ") == [358]
    assert vocabulary.encode("<2fr> bada") == [358, *vocabulary.encode("bada")]
    assert vocabulary.encode_batch(["bada", ""]) == [vocabulary.encode("bada"), []]
    assert vocabulary.decode([600]) == vocabulary.decode([2])


def test_same_text_same_fingerprint(toy_vocabulary, toy_sentences, tmp_path):
    texts = {"ja": iter(["日本語の文", "文の日本"] * 10), "fr": iter(toy_sentences(300))}
    again = train_vocabulary(texts, directory=tmp_path / "again", config=SMALL)
    assert again.fingerprint == Vocabulary.load(toy_vocabulary).fingerprint


def test_description(toy_vocabulary):
    described = json.loads((toy_vocabulary / "vocabulary.json").read_text())
    assert described["fingerprint"] == Vocabulary.load(toy_vocabulary).fingerprint
    assert described["languages"]["fr"]["lines"] == 300
    assert described["settings"]["vocab_size"] == 460


@pytest.mark.parametrize(
    ("size", "message"),
    [(5000, r"at most \d+; set vocab_size to that or less"), (370, "take more than 3[67]")],
)
def test_impossible_size_says_what_is_possible(toy_sentences, tmp_path, size, message):
    with pytest.raises(VocabularyError, match=message):
        train_vocabulary(
            {"fr": toy_sentences(50)}, directory=tmp_path, config=VocabularyConfig(vocab_size=size)
        )
    assert not list(tmp_path.iterdir())


def test_largest_possible_size_is_possible(toy_sentences, tmp_path):
    with pytest.raises(VocabularyError) as error:
        train_vocabulary(
            {"fr": toy_sentences(50)}, directory=tmp_path, config=VocabularyConfig(vocab_size=5000)
        )
    largest = int(str(error.value).split("at most ")[1].split(";")[0])
    config = VocabularyConfig(vocab_size=largest)
    found = train_vocabulary({"fr": toy_sentences(50)}, directory=tmp_path, config=config)
    assert found.token_ids.size == largest


def test_failed_training_leaves_the_older_vocabulary(toy_vocabulary, tmp_path):
    kept = shutil.copytree(toy_vocabulary, tmp_path / "kept")
    with pytest.raises(VocabularyError):
        train_vocabulary({"fr": ["a b"]}, directory=kept, config=SMALL)
    assert Vocabulary.load(kept) == Vocabulary.load(toy_vocabulary)


def test_no_text_and_no_place(tmp_path):
    with pytest.raises(VocabularyError, match="no text"):
        train_vocabulary({"fr": []}, directory=tmp_path, config=SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where a directory is needed"):
        train_vocabulary({"fr": ["a"]}, directory=tmp_path / "file" / "v", config=SMALL)


def test_config_names_every_fault():
    with pytest.raises(ConfigError, match=r"vocab_size 300.*alpha 2.*lists a language twice"):
        VocabularyConfig(vocab_size=300, alpha=2, language_codes=("fr", "fr"))


@given(
    sizes=st.dictionaries(
        st.sampled_from(["en", "fr", "sw", "xh"]), st.integers(1, 400), min_size=1
    ),
    alpha=st.sampled_from([0.0, 0.3, 1.0]),
    max_lines=st.sampled_from([50, 10_000]),
)
def test_languages_are_balanced(sizes, alpha, max_lines):
    texts = {language: [f"{language} {i}" for i in range(n)] for language, n in sizes.items()}
    config = VocabularyConfig(alpha=alpha, max_lines=max_lines)
    counts, lines = balanced_lines(texts, config=config)
    assert (counts, lines) == balanced_lines(texts, config=config)
    total = min(sum(sizes.values()), max_lines)
    weights = {language: n**alpha for language, n in sizes.items()}
    for language, weight in weights.items():
        drawn = [line for line in lines if line.startswith(language)]
        assert len(drawn) == counts[language]["drawn"]
        assert abs(len(drawn) - total * weight / sum(weights.values())) <= 1
        # Each line about as often as any other.
        times = [drawn.count(line) for line in set(drawn)]
        assert max(times) - min(times) <= 1
        assert counts[language]["lines"] == sizes[language]


def test_long_documents_are_not_lost(toy_sentences):
    document = " ".join(toy_sentences(400))  # 16,000 characters in one line
    counts, lines = balanced_lines({"fr": [document]}, config=VocabularyConfig(alpha=1.0))
    assert "".join(lines) == document and counts["fr"]["lines"] == len(lines) > 1


def test_monolingual_corpora_come_before_pairs(list_source):
    corpora = [
        Corpus(name="pairs", source=list_source(("en", "fr"), [("a", "b")])),
        Corpus(name="mono", source=list_source(("en",), [("c",)])),
        Corpus(name="more", source=list_source(("en",), [("d",)])),
    ]
    texts = {language: list(found) for language, found in texts_by_language(corpora).items()}
    assert texts == {"en": ["c", "d"], "fr": ["b"]}


def test_require_same():
    require_same("abc", "abc", where="here")
    with pytest.raises(
        VocabularyError, match="store x: expected fingerprint aaaaaaaaaaaa…, found no"
    ):
        require_same("a" * 64, None, where="store x")
