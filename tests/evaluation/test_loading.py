import dataclasses

import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.core.errors import VocabularyError
from nmt5.evaluation.loading import load_model


def test_another_vocabulary_is_refused(run_directory, other_vocabulary):
    with pytest.raises(VocabularyError, match="expected fingerprint"):
        load_model(run_directory, vocabulary=other_vocabulary)


def test_a_checkpoint_that_names_no_vocabulary_is_checked_by_size(
    run_directory, vocabulary, tmp_path
):
    config = ConvertConfig(source=str(run_directory), target=str(tmp_path / "converted"))
    converted = convert(config, report=lambda line: None)
    loaded = load_model(converted.path, vocabulary=vocabulary)
    assert loaded.config.vocab_size == 408 and not loaded.description.vocabulary_fingerprint
    too_large = dataclasses.replace(vocabulary.token_ids, size=409)
    vocabulary = dataclasses.replace(vocabulary)
    vocabulary.__dict__["token_ids"] = too_large
    with pytest.raises(VocabularyError, match="408 rows, the vocabulary 409 ids"):
        load_model(converted.path, vocabulary=vocabulary)
