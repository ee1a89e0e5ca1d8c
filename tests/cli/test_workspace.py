import pytest

from nmt5.cli.workspace import Workspace
from nmt5.core.errors import ConfigError, StorageError
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds, write_mixture


def mixture():
    task = TaskSpec(name="t", corpus="c", languages=("fr",), rate=1.0)
    group = GroupSpec(objective="span_corruption", settings={}, share=1.0, tasks=(task,))
    ids = TokenIds(size=300, num_sentinels=10, fingerprint="f")
    return Mixture(name="m", vocabulary=ids, groups=(group,))


def test_settings_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("NMT5_VOCABULARY", "from environment")
    monkeypatch.setenv("NMT5_STORE", "from environment")
    workspace = Workspace(vocabulary="given")
    assert (workspace.vocabulary, workspace.store) == ("given", "from environment")


def test_what_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.delenv("NMT5_VOCABULARY", raising=False)
    monkeypatch.delenv("NMT5_STORE", raising=False)
    with pytest.raises(ConfigError, match="Workspace.vocabulary, Workspace.store must be set"):
        Workspace().needs("vocabulary", "store")


def test_one_mixture_may_be_written_without_brackets():
    assert Workspace(mixtures="demo_mlm").mixtures == ("demo_mlm",)


def test_a_module_that_cannot_be_imported_is_a_users_error():
    with pytest.raises(ConfigError, match="Workspace.modules: 'no_such_module'"):
        Workspace(modules="no_such_module").register()


def test_a_mixture_is_found_by_file_and_by_name(tmp_path):
    workspace = Workspace(store=str(tmp_path))
    write_mixture(mixture(), workspace.mixture_path("m"))
    assert workspace.find_mixture("m") == mixture()
    assert workspace.find_mixture(str(workspace.mixture_path("m"))) == mixture()


def test_a_missing_mixture_file_is_named(tmp_path):
    with pytest.raises(StorageError, match="nothing.json does not exist"):
        Workspace().find_mixture(str(tmp_path / "nothing.json"))
