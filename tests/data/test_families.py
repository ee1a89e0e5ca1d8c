"""Each family's vocabulary, text through prepare and feed in it, and SeqIO's view of the same."""

import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2
import seqio

from nmt5.core.errors import VocabularyError
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.families import FAMILIES, find_family
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.model_pieces import NUM_FREE_BYTES, BytePieces
from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.registry import TaskVocabulary
from nmt5.data.resolution import resolve_definition
from nmt5.data.sources.base import Corpus
from nmt5.data.spans import fitting_lengths
from nmt5.data.store import read_corpus_info
from nmt5.data.vocabulary import MODEL_FILE, SENTINEL, Vocabulary


@pytest.fixture(scope="module")
def bare_model(toy_vocabulary, tmp_path_factory):
    """A model file as English T5's: the toy vocabulary without its sentinels."""
    content = (toy_vocabulary / MODEL_FILE).read_bytes()
    proto = sentencepiece_model_pb2.ModelProto.FromString(content)
    kept = [piece for piece in proto.pieces if "extra_id" not in piece.piece]
    del proto.pieces[:]
    proto.pieces.extend(kept)
    path = tmp_path_factory.mktemp("bare") / "spiece.model"
    path.write_bytes(proto.SerializeToString())
    return path


def test_lengths_of_the_table_follow_from_its_noise():
    for family in FAMILIES.values():
        fitting = fitting_lengths(family.inputs_length, **family.settings)
        assert (fitting.inputs, fitting.targets) == (family.inputs_length, family.targets_length)
        assert fitting.spans <= family.num_sentinels
        assert family.embedding_rows >= family.size
    assert find_family("byt5").embedding_rows == 384
    with pytest.raises(VocabularyError, match="nearest: 'mt5'"):
        find_family("mT5")


def test_bytes_are_seqios_byte_vocabulary():
    vocabulary, theirs = Vocabulary.load("bytes"), seqio.ByteVocabulary()
    text = "A naïve 日本語 text\n\0."
    assert vocabulary.encode(text) == theirs.encode(text)
    assert vocabulary.encode_batch([text, ""]) == [theirs.encode(text), []]
    assert vocabulary.decode([*vocabulary.encode(text), 1, 70, 0]) == text
    assert vocabulary.token_ids.size == theirs.vocab_size
    assert vocabulary.token_ids.sentinel(0) == 258
    find_family("byt5").check(vocabulary)
    with pytest.raises(VocabularyError, match="has 250,100 with 100; use the published model file"):
        find_family("mt5").check(vocabulary)


def test_bytes_that_are_sentinels_are_in_no_text():
    used = {byte for code in range(0x110000) if not 0xD800 <= code < 0xE000 and code % 7 == 0
            for byte in chr(code).encode()}  # fmt: skip
    free = set(range(256 - NUM_FREE_BYTES, 256))
    assert not used & free and 255 - NUM_FREE_BYTES in {*chr(0x10FFFF).encode()}
    assert BytePieces().decode([258, 68, 257, 2, 300][:4]) == "<extra_id_0>A<extra_id_1>"


def test_sentinels_above_a_bare_model_are_seqios(bare_model):
    vocabulary = Vocabulary.load(f"{bare_model}#extra_ids=100")
    theirs = seqio.SentencePieceVocabulary(str(bare_model), extra_ids=100)
    bare = Vocabulary.load(bare_model)
    assert bare.token_ids.num_sentinels == 0
    assert vocabulary.token_ids.size == theirs.vocab_size == bare.token_ids.size + 100
    assert vocabulary.token_ids.num_sentinels == 100
    assert vocabulary.pieces([vocabulary.token_ids.sentinel(7)]) == [SENTINEL.format(7)]
    text = "a <extra_id_0> b"
    assert vocabulary.encode(text) == theirs.encode(text)
    assert vocabulary.fingerprint not in (
        bare.fingerprint,
        Vocabulary.load(f"{bare_model}#extra_ids=99").fingerprint,
    )


@pytest.mark.parametrize(
    "path, message",
    [
        ("{bare}#extra_ids=none", "extra_ids is 'none'"),
        ("{bare}#extra_ids=0", "extra_ids is '0'"),
        ("{full}#extra_ids=100", "is for a bare `.model` file"),
        ("{full}/sentencepiece.model#extra_ids=100", "holds its sentinels already"),
        ("no.model#extra_ids=100", "no.model does not exist"),
    ],
)
def test_wrong_extra_ids(bare_model, toy_vocabulary, path, message):
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.load(path.format(bare=bare_model, full=toy_vocabulary))


@pytest.fixture(scope="module")
def published(bare_model, tmp_path_factory):
    """Returns a function from a family to a vocabulary of its size and layout, of toy pieces."""
    directory = tmp_path_factory.mktemp("published")

    def make(family):
        if family.vocabulary == "bytes":
            return "bytes"
        path = directory / f"{family.name}.model"
        proto = sentencepiece_model_pb2.ModelProto.FromString(bare_model.read_bytes())
        kind = sentencepiece_model_pb2.ModelProto.SentencePiece
        in_file = family.num_sentinels - family.extra_ids
        for number in range(len(proto.pieces), family.size - family.num_sentinels):
            proto.pieces.add(piece=f"<fill {number}>", score=-1e4, type=kind.UNUSED)
        for k in reversed(range(in_file)):
            proto.pieces.add(piece=SENTINEL.format(k), score=0.0, type=kind.USER_DEFINED)
        path.write_bytes(proto.SerializeToString())
        return f"{path}#extra_ids={family.extra_ids}" if family.extra_ids else str(path)

    return make


@pytest.mark.parametrize(
    "name",
    ["byt5", "umt5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mt5", "t5"))],
)
def test_prepared_and_fed(name, published, tmp_path, list_source, toy_sentences):
    """A document of more than 65,536 ids loses a chunk, and what is left fills whole rows."""
    family = FAMILIES[name]
    path = published(family)
    vocabulary = Vocabulary.load(path)
    family.check(vocabulary)
    sentences = " ".join(toy_sentences(400))
    repeats = 70_000 // len(vocabulary.encode(sentences)) + 1
    source = list_source(["en"], [(" ".join([sentences] * repeats),), ("",)])
    corpus = Corpus(name="text.en", source=source)
    store = str(tmp_path / "store")
    raw = fitting_lengths(family.inputs_length, **family.settings).raw
    prepare(PrepareConfig(store=store, vocabulary=path, segment_tokens=raw), [corpus])
    split = read_corpus_info(store, "text.en").splits["train"]
    assert split.cut == 1 and 4000 < split.tokens["en"] <= 65_536
    assert split.dropped == {"empty": 1}
    task = TaskDefinition(
        name="t",
        corpus=corpus,
        objective="span_corruption",
        languages=("en",),
        settings=family.settings,
    )
    mixture = resolve_definition(
        MixtureDefinition(name="m", tasks=(task,)),
        store=store,
        vocabulary=vocabulary,
        inputs_length=family.inputs_length,
    )
    config = DataConfig(
        mixture="m",
        store=store,
        inputs_length=family.inputs_length,
        encoder_tokens_per_batch=8 * family.inputs_length,
    )
    arrays = next(iter(Feed(mixture, config))).arrays["span_corruption"]
    inputs, targets = arrays["encoder_input_tokens"], arrays["decoder_target_tokens"]
    assert inputs.shape[1:] == (family.inputs_length,)
    assert targets.shape[1:] == (family.targets_length,)
    full = (inputs != 0).all(axis=1) & (targets != 0).all(axis=1)
    assert full.sum() >= len(inputs) - 1, "only the end of the text is a shorter piece"
    first = vocabulary.token_ids.sentinel(0)
    assert first == family.size - 1 and (targets[:, 0] == first).all()
    assert "<extra_id_0>" in vocabulary.decode(inputs[0])


@pytest.mark.parametrize("kind", ["bytes", "extra"])
def test_seqio_tasks_see_the_same_ids(kind, bare_model):
    path = {"bytes": "bytes", "extra": f"{bare_model}#extra_ids=100"}[kind]
    ours, seen = Vocabulary.load(path), TaskVocabulary(path)
    text = "bagodi émile"
    assert list(seen.encode(text)) == ours.encode(text)
    assert seen.encode_tf(text).numpy().tolist() == ours.encode(text)
    assert seen.decode(ours.encode(text)) == ours.decode(ours.encode(text))
    assert seen.decode_tf(np.array(ours.encode(text), np.int32)).numpy().decode() == ours.decode(
        ours.encode(text)
    )
    assert seen.vocab_size == ours.token_ids.size and (seen.eos_id, seen.unk_id) == (1, 2)
    assert seen == TaskVocabulary(path) and seen != TaskVocabulary(str(bare_model))
