import pytest

from nmt5.core.errors import VocabularyError
from nmt5.data import locations


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.delenv(locations.VOCABULARY_VARIABLE, raising=False)
    monkeypatch.delenv(locations.STORE_VARIABLE, raising=False)
    locations.configure()
    yield
    locations.configure()


def test_vocabulary_must_be_named_somewhere():
    with pytest.raises(VocabularyError, match=r"configure\(vocabulary=PATH\).*NMT5_VOCABULARY"):
        locations.find_vocabulary()


def test_argument_then_configure_then_environment(toy_vocabulary, tmp_path, monkeypatch):
    monkeypatch.setenv(locations.VOCABULARY_VARIABLE, str(toy_vocabulary))
    found = locations.find_vocabulary()
    locations.configure(vocabulary=tmp_path / "configured")
    with pytest.raises(VocabularyError, match="configured does not exist"):
        locations.find_vocabulary()
    assert locations.find_vocabulary(toy_vocabulary) == found
    assert locations.find_vocabulary(found) is found


def test_store(monkeypatch):
    assert locations.find_store() is None
    monkeypatch.setenv(locations.STORE_VARIABLE, "environment")
    assert locations.find_store() == "environment"
    locations.configure(store="configured")
    assert locations.find_store() == "configured"
    assert locations.find_store("argument") == "argument"
