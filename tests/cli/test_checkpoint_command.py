"""`nmt5 checkpoint` and `nmt5 convert`, in this process and by hand."""

import io
import pathlib

import pytest

from nmt5.cli import main
from nmt5.core.errors import CheckpointError, UserError
from nmt5.data.vocabulary import Vocabulary

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
    """A SentencePiece model with 4 sentinels and some 300 ids."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"] * 20),
        model_writer=stream, vocab_size=300, byte_fallback=True, pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(stream.getvalue())
    for k in reversed(range(4)):
        proto.pieces.add(piece=f"\u2581<extra_id_{k}>", score=0.0, type=4)
    path = tmp_path_factory.mktemp("v") / "spiece.model"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A T5X file with 384 embedding rows, all arrays inline."""
    from flax import serialization
    import numpy as np

    from nmt5.checkpoints.param_paths import parameter_shapes
    from nmt5.core.pytrees import unflatten_paths
    from nmt5.model.config import model_config

    rng = np.random.default_rng(0)
    shapes = parameter_shapes(model_config("tiny", vocab_size=384))
    params = {path: rng.standard_normal(shape, np.float32) for path, shape in shapes.items()}
    state = {"target": unflatten_paths(params), "state": {"step": np.int32(7)}}
    path = tmp_path_factory.mktemp("c") / "checkpoint_7"
    path.mkdir()
    content = serialization.msgpack_serialize({"version": 3, "optimizer": state})
    (path / "checkpoint").write_bytes(content)
    return path


def test_show_names_format_model_and_vocabulary(checkpoint, spiece, capsys):
    assert main.run(["checkpoint", "show", f"--from={checkpoint}", f"--vocabulary={spiece}"]) == 0
    shown = capsys.readouterr().out
    assert "2+2 layers, width 32, vocabulary rows 384, step 7" in shown
    assert "  head_dim: 8" in shown and "4 sentinels from" in shown


def test_tokens_are_added_and_the_result_is_shown(checkpoint, spiece, tmp_path, capsys):
    target = tmp_path / "extended"
    words = ["checkpoint", "add-tokens", f"--from={checkpoint}", f"--vocabulary={spiece}"]
    words += [f"--to={target}", "--gin.AddTokensConfig.initialisation=normal"]
    main.run([*words, "--tokens", "<2fr>", "<2de>"])
    old, new = Vocabulary.load(spiece), Vocabulary.load(target / "vocabulary")
    assert new.token_ids.size == old.token_ids.size + 2
    assert "2 tokens added" in capsys.readouterr().out
    main.run(["checkpoint", "show", f"--from={target}", f"--vocabulary={target / 'vocabulary'}"])
    assert f"{new.token_ids.size} ids in 384 rows" in capsys.readouterr().out


def test_a_conversion_is_verified(checkpoint, tmp_path, capsys, monkeypatch):
    words = ["convert", f"--from={checkpoint}", "--verify"]
    main.run([*words, f"--to={tmp_path / 'n'}"])
    assert "verify: parameters equal bit for bit" in capsys.readouterr().out

    from nmt5.checkpoints import verification

    monkeypatch.setattr(verification, "_parameter_difference", lambda one, two: 0.5)
    with pytest.raises(CheckpointError, match="differ from .* by up to 0.5; do not use it"):
        main.run([*words, f"--to={tmp_path / 'm'}"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shw"], "unknown action 'shw'; nearest: 'show'"),
        (["show"], "give the checkpoint as --from"),
        (["show", "--from=/no/such/place"], "does not exist"),
        (["show", "--from={checkpoint}", "--vocabulary={checkpoint}"], "no SentencePiece model"),
        (["show", "--from={checkpoint}", "--vocabulary={text}"], "text.model"),
        (["add-tokens", "--from={checkpoint}"], "vocabulary, AddTokensConfig.tokens"),
        (["add-tokens", "--gin.AddTokensConfig.tokns=1"], "nearest: 'tokens'"),
        (
            ["add-tokens", "--from={checkpoint}", "--vocabulary={spiece}", "--to={text}.d",
             "--tokens", "<extra_id_0>"],
            "has already",
        ),
        (
            ["add-tokens", "--from={checkpoint}", "--vocabulary={spiece}", "--to={text}.d",
             "--gin.AddTokensConfig.format=hugface", "--tokens", "<2fr>"],
            "nearest: 'huggingface'",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_one_message(checkpoint, spiece, tmp_path, words, message):
    text = tmp_path / "text.model"
    text.write_text("no model")
    places = {"checkpoint": checkpoint, "spiece": spiece, "text": text}
    with pytest.raises(UserError) as error:
        main.run(["checkpoint", *(word.format(**places) for word in words)])
    assert message in str(error.value)
    assert not pathlib.Path(f"{text}.d").exists()
