import pickle
import shutil

import pytest

from nmt5.core.errors import StorageError, VocabularyError
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture
def directory(toy_vocabulary, tmp_path):
    return shutil.copytree(toy_vocabulary, tmp_path / "vocabulary")


def test_bare_model_file_is_the_same_vocabulary(directory):
    whole, bare = Vocabulary.load(directory), Vocabulary.load(directory / "sentencepiece.model")
    assert whole == bare and hash(whole) == hash(bare)
    assert whole.token_ids == bare.token_ids


def test_pickles_by_path(directory):
    vocabulary = Vocabulary.load(directory)
    ids = vocabulary.encode("bada")
    pickled = pickle.dumps(vocabulary)
    assert len(pickled) < 500
    assert pickle.loads(pickled).encode("bada") == ids


def test_model_that_changed_after_opening_is_refused(directory):
    pickled = pickle.dumps(Vocabulary.load(directory))
    with (directory / "sentencepiece.model").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(VocabularyError, match="expected fingerprint"):
        pickle.loads(pickled).encode("bada")


def test_missing(tmp_path):
    with pytest.raises(VocabularyError, match="nowhere does not exist; train one with"):
        Vocabulary.load(tmp_path / "nowhere")


def test_incomplete_directory(directory):
    (directory / "vocabulary.json").unlink()
    with pytest.raises(StorageError, match="it is incomplete; train one"):
        Vocabulary.load(directory)


def test_model_of_another_directory(directory):
    with (directory / "sentencepiece.model").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(VocabularyError, match=r"against vocabulary\.json: expected fingerprint"):
        Vocabulary.load(directory)


def test_not_a_model(tmp_path):
    (tmp_path / "a.model").write_bytes(b"not a model at all")
    with pytest.raises(VocabularyError, match="is not a SentencePiece model"):
        Vocabulary.load(tmp_path / "a.model")


def test_another_id_layout_is_refused(tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d"] * 20),
        model_prefix=str(tmp_path / "other"),
        vocab_size=12,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    with pytest.raises(VocabularyError, match=r"pad, eos and unk are \(-1, 2, 0\)"):
        Vocabulary.load(tmp_path / "other.model")


def test_model_without_sentinels_has_none(tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d"] * 20),
        model_prefix=str(tmp_path / "plain"),
        vocab_size=12,
        minloglevel=2,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    assert Vocabulary.load(tmp_path / "plain.model").token_ids.num_sentinels == 0
