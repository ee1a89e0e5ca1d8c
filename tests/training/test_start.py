import dataclasses

import pytest

from nmt5.checkpoints.manager import Description
from nmt5.core.errors import CheckpointError, VocabularyError
from nmt5.model.config import model_config
from nmt5.training.start import Start, check_fits

MODEL = model_config("tiny", vocab_size=384)


def start_from(fingerprint, model=MODEL):
    description = Description(
        step=0,
        model=model.to_dict(),
        vocabulary_fingerprint=fingerprint,
        vocabulary_size=0,
        mixture="",
    )
    return Start(kind="public checkpoint", source="there", description=description)


def test_an_unnamed_vocabulary_is_checked_by_size(mixture):
    lines = []
    check_fits(start_from(""), mixture=mixture, model=MODEL, report=lines.append)
    (line,) = lines
    assert "taken on trust" in line and "300 ids in 384 rows (84 rows of padding)" in line


@pytest.mark.parametrize(
    ("rows", "message"), [(256, "has 300 ids; it belongs"), (1024, "724 rows too many")]
)
def test_an_unnamed_vocabulary_of_another_size_is_refused(mixture, rows, message):
    model = dataclasses.replace(MODEL, vocab_size=rows)
    with pytest.raises(VocabularyError, match=message):
        check_fits(start_from("", model), mixture=mixture, model=model, report=print)


def test_a_named_vocabulary_must_be_the_mixtures(mixture):
    lines = []
    same = start_from(mixture.vocabulary.fingerprint)
    check_fits(same, mixture=mixture, model=MODEL, report=lines.append)
    assert not lines
    with pytest.raises(VocabularyError, match="was trained with vocabulary 0000"):
        check_fits(start_from("0" * 64), mixture=mixture, model=MODEL, report=print)


def test_only_how_the_model_is_computed_may_change(mixture):
    start = start_from(mixture.vocabulary.fingerprint)
    free = dataclasses.replace(MODEL, dropout_rate=0.3, dtype="bfloat16")
    check_fits(start, mixture=mixture, model=free, report=print)
    other = dataclasses.replace(MODEL, num_heads=2, head_dim=16)
    with pytest.raises(CheckpointError, match="head_dim 8 .run: 16., num_heads 4 .run: 2"):
        check_fits(start, mixture=mixture, model=other, report=print)
