import dataclasses

import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.core.errors import VocabularyError
from nmt5.evaluation.loading import load_model


def converted_to(source, target, format="nmt5"):
    config = ConvertConfig(source=str(source), target=str(target), format=format)
    return convert(config, report=lambda line: None)


def test_another_vocabulary_is_refused(run_directory, other_vocabulary):
    with pytest.raises(VocabularyError, match="expected fingerprint"):
        load_model(run_directory, vocabulary=other_vocabulary)


def test_a_checkpoint_that_names_no_vocabulary_is_checked_by_size(
    run_directory, vocabulary, tmp_path
):
    exported = converted_to(run_directory, tmp_path / "exported", format="huggingface")
    converted = converted_to(exported.path, tmp_path / "converted")
    loaded = load_model(converted.path, vocabulary=vocabulary)
    assert loaded.config.vocab_size == 408 and not loaded.description.vocabulary_fingerprint
    too_large = dataclasses.replace(vocabulary.token_ids, size=409)
    vocabulary = dataclasses.replace(vocabulary)
    vocabulary.__dict__["token_ids"] = too_large
    with pytest.raises(VocabularyError, match="408 rows, the vocabulary 409 ids"):
        load_model(converted.path, vocabulary=vocabulary)


def test_a_conversion_of_an_own_checkpoint_still_names_its_vocabulary(
    run_directory, vocabulary, tmp_path
):
    description = load_model(
        converted_to(run_directory, tmp_path / "c").path, vocabulary=vocabulary
    ).description
    assert description.vocabulary_fingerprint == vocabulary.fingerprint
    assert (description.vocabulary_size, description.mixture) == (vocabulary.token_ids.size, "toy")
