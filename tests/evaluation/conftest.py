"""A vocabulary of a few hundred pieces and a checkpoint of a tiny untrained model."""

import pytest

from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

ENGLISH = [
    "Enter a valid value.",
    "This field is required.",
    "Enter a whole number.",
    "Enter a valid date.",
    "Select a valid choice.",
    "No file was submitted.",
    "The submitted file is empty.",
    "Enter a list of values.",
]
GERMAN = [
    "Bitte einen gültigen Wert eingeben.",
    "Dieses Feld ist zwingend erforderlich.",
    "Bitte eine ganze Zahl eingeben.",
    "Bitte ein gültiges Datum eingeben.",
    "Bitte eine gültige Auswahl treffen.",
    "Es wurde keine Datei übertragen.",
    "Die übertragene Datei ist leer.",
    "Bitte eine Liste mit Werten eingeben.",
]
HEBREW = ["יש להזין ערך חוקי.", "יש להזין תוכן בשדה זה.", "נא להזין מספר שלם."]


@pytest.fixture(scope="session")
def messages():
    """`{English: {language: text}}`: German throughout, Hebrew for three messages."""
    found = {english: {"de": german} for english, german in zip(ENGLISH, GERMAN, strict=True)}
    for english, hebrew in zip(ENGLISH, HEBREW, strict=False):
        found[english]["iw"] = hebrew
    return found


def _vocabulary(directory, codes):
    config = VocabularyConfig(
        vocab_size=400,
        num_sentinels=20,
        language_codes=codes,
        character_coverage=1.0,
    )
    texts = {"en": ENGLISH * 5, "de": GERMAN * 5, "iw": HEBREW * 5}
    return train_vocabulary(texts, directory=directory, config=config)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    return _vocabulary(tmp_path_factory.mktemp("vocabulary"), ("en", "de", "iw"))


@pytest.fixture(scope="session")
def other_vocabulary(tmp_path_factory):
    return _vocabulary(tmp_path_factory.mktemp("other_vocabulary"), ("en", "de"))


@pytest.fixture(scope="session")
def save_checkpoint(vocabulary, save_untrained):
    """Writes `checkpoint_<step>` of an untrained model into a run directory."""

    def save(run, *, step, seed=0):
        save_untrained(run, vocabulary=vocabulary, rows=408, step=step, seed=seed)

    return save


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory, save_checkpoint):
    run = tmp_path_factory.mktemp("run")
    save_checkpoint(run, step=7)
    return run


@pytest.fixture
def empty_registries(monkeypatch):
    """SeqIO's registries, empty for one test, whatever tests before it have registered."""
    import seqio

    for registry in (seqio.TaskRegistry, seqio.MixtureRegistry):
        monkeypatch.setattr(registry, "_REGISTRY", {})
