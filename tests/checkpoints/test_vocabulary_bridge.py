"""Checkpoint and vocabulary: do they belong together, and new tokens for both."""

import dataclasses
import io
import os

import numpy as np
import pytest

from nmt5.checkpoints.public_import import import_public
from nmt5.checkpoints.vocabulary_bridge import (
    AddTokensConfig,
    add_tokens,
    check_vocabulary,
)
from nmt5.core.errors import ConfigError, VocabularyError
from nmt5.core.pytrees import flatten_paths
from nmt5.data.vocabulary import Vocabulary

SENTINELS = 4


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
    """A small SentencePiece model with bytes and sentinels, laid out as mT5's."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    stream = io.BytesIO()
    text = ["the quick brown fox jumps over the lazy dog again and again"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=stream, vocab_size=300, byte_fallback=True,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(stream.getvalue())
    for k in reversed(range(SENTINELS)):
        proto.pieces.add(piece=f"\u2581<extra_id_{k}>", score=0.0, type=4)
    path = tmp_path_factory.mktemp("v") / "spiece.model"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def model(samples, spiece, tmp_path):
    """A checkpoint with as many rows as the vocabulary needs, padded."""
    size = Vocabulary.load(spiece).token_ids.size
    config = dataclasses.replace(samples.SHARED, vocab_size=-(-size // 128) * 128)
    params = samples.random_params(config)
    samples.write_huggingface(tmp_path / "hf", config, params)
    return tmp_path / "hf", config, params, size


def test_check_says_rows_and_sentinels(model, spiece):
    _, config, _, size = model
    line = check_vocabulary(config, Vocabulary.load(spiece), where="x")
    assert f"{size} ids in {config.vocab_size} rows ({config.vocab_size - size} rows of" in line
    assert f"4 sentinels from {size - 1} down to {size - 4}" in line


@pytest.mark.parametrize(
    ("rows", "message"), [(128, "belongs to another model"), (1024, "rows too many")]
)
def test_check_refuses_other_vocabularies(model, spiece, rows, message):
    config = dataclasses.replace(model[1], vocab_size=rows)
    with pytest.raises(VocabularyError, match=message):
        check_vocabulary(config, Vocabulary.load(spiece), where="x")


@pytest.mark.parametrize("format", ["nmt5", "huggingface"])
@pytest.mark.parametrize("count", [2, 300])
def test_tokens_are_added_below_the_sentinels(model, spiece, tmp_path, format, count):
    path, config, params, size = model
    tokens = tuple(f"<2x{i}>" for i in range(count))
    lines = []
    result = add_tokens(
        AddTokensConfig(
            source=str(path), vocabulary=str(spiece), tokens=tokens, target=str(tmp_path / "o"),
            format=format,
        ),
        report=lines.append,
    )  # fmt: skip
    old, new = Vocabulary.load(spiece), Vocabulary.load(tmp_path / "o" / "vocabulary")
    assert new.token_ids.size == size + count and new.token_ids.num_sentinels == SENTINELS
    base = size - SENTINELS
    assert new.encode("the <2x1> fox") == [*old.encode("the"), base + 1, *old.encode("fox")]
    flat = flatten_paths(import_public(result.path)[0])
    for name, axis in (("token_embedder/embedding", 0), ("decoder/logits_dense/kernel", 1)):
        before, after = (np.moveaxis(table[name], axis, 0) for table in (params, flat))
        assert after.shape[0] % 128 == 0 and after.shape[0] >= size + count
        assert np.array_equal(after[:base], before[:base])
        assert np.array_equal(after[base + count : size + count], before[base:size])
        mean = before[:base].mean(axis=0)
        np.testing.assert_allclose(
            after[base : base + count], np.broadcast_to(mean, (count, 8)), rtol=1e-4, atol=1e-6
        )
        kept = min(config.vocab_size - size, after.shape[0] - size - count)
        assert np.array_equal(after[size + count :][:kept], before[size:][:kept])
    rest = [name for name in params if "embedding" not in name.split("/") and "logits" not in name]
    assert all(np.array_equal(flat[n], params[n]) for n in rest if n != "token_embedder/embedding")


def test_initialisations(model, spiece, tmp_path):
    path, _, params, size = model
    base = size - SENTINELS
    fox = Vocabulary.load(spiece).encode("the")[0]
    piece = Vocabulary.load(spiece).pieces([fox])[0]
    rows = {}
    for how in (f"like:{piece}", "normal"):
        result = add_tokens(
            AddTokensConfig(
                source=str(path), vocabulary=str(spiece), tokens=("<2fr>", "<2de>"),
                target=str(tmp_path / how.replace(":", "-")), initialisation=how,
            ),
            report=lambda line: None,
        )  # fmt: skip
        table = import_public(result.path)[0]["token_embedder"]["embedding"]
        rows[how] = table[base : base + 2]
    assert np.array_equal(rows[f"like:{piece}"], params["token_embedder/embedding"][[fox, fox]])
    assert not np.array_equal(rows["normal"][0], rows["normal"][1])
    assert np.abs(rows["normal"]).max() < 6


def test_refusals_leave_nothing(model, spiece, tmp_path):
    path = model[0]

    def config(**changes):
        settings = {
            "source": str(path), "vocabulary": str(spiece), "tokens": ("<2fr>",),
            "target": str(tmp_path / "o"),
        }  # fmt: skip
        return AddTokensConfig(**(settings | changes))

    for changes, message in (
        ({"tokens": ()}, "at least one"),
        ({"tokens": ("a", "\u2581a")}, "none twice"),
        ({"initialisation": "zero"}, "initialisation 'zero'"),
    ):
        with pytest.raises(ConfigError, match=message):
            config(**changes)
    with pytest.raises(VocabularyError, match="has already"):
        add_tokens(config(tokens=("<extra_id_0>",)), report=lambda line: None)
    with pytest.raises(VocabularyError, match="no such piece"):
        add_tokens(config(initialisation="like:\u4e00"), report=lambda line: None)
    assert not os.path.exists(tmp_path / "o")
