"""`nmt5 show --batch`: the rows of a saved batch, decoded."""

import numpy as np
import pytest

from nmt5.cli import main
from nmt5.core.errors import ConfigError
from nmt5.data.packing import build_rows
from nmt5.data.saved_batch import write_batch
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture
def saved(tmp_path, toy_vocabulary, toy_sentences):
    """The path of a batch with two rows, of one and of two segments, and the sentences."""
    vocabulary = Vocabulary.load(toy_vocabulary)
    sentences = toy_sentences(3, seed=1)
    segments = [(np.array(ids), np.array(ids[:2])) for ids in vocabulary.encode_batch(sentences)]
    rows = build_rows([segments[:1], segments[1:]], inputs_length=400, targets_length=16)
    path = tmp_path / "bad_batch_7.npz"
    facts = {
        "step": 7,
        "loss": "nan",
        "mixture": "worded",
        "vocabulary_fingerprint": vocabulary.fingerprint,
    }
    write_batch(path, {"nmt": rows}, facts=facts)
    return path, sentences


def test_rows_are_decoded_segment_by_segment(saved, toy_vocabulary, capsys):
    path, sentences = saved
    binding = f"--gin.Workspace.vocabulary={toy_vocabulary}"
    main.run(["show", "--batch", str(path), binding])
    shown = capsys.readouterr().out
    assert "mixture 'worded', step 7, loss nan" in shown
    assert "nmt, row 1: 2 segments" in shown
    for sentence in sentences:
        assert sentence in shown
    main.run(["show", "--batch", str(path), "--rows", "1", binding])
    shown = capsys.readouterr().out
    assert sentences[0] in shown and sentences[1] not in shown
    assert "nmt: 1 rows more" in shown


def test_what_is_missing_or_another_is_said(saved, tmp_path):
    path, _ = saved
    with pytest.raises(ConfigError, match=r"Workspace\.vocabulary must be set"):
        main.run(["show", "--batch", str(path)])
    with pytest.raises(ConfigError, match="MIXTURE is missing"):
        main.run(["show"])
