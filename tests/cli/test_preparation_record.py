"""`nmt5 prepare` again: nothing is registered, read or resolved unless something has changed."""

import json
import os
import shutil
import sys

import pytest
import seqio

from nmt5.cli import main
from nmt5.cli.workspace import Workspace
from nmt5.data import locations, registry
from nmt5.data.sources.filters import filtered
from nmt5.data.sources.gettext import GettextSource
from nmt5.data.sources.moses import MosesSource
from nmt5.data.sources.watched_files import watched
from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

MODULE = """
from nmt5.data import registry
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.tsv import TsvSource

corpus = Corpus(
    name="again.en-fr",
    source=TsvSource(languages=("en", "fr"), files={"train": "*.tsv"}, columns=(0, 1)),
)
registry.add_parallel_task("again.tlm", corpus, source_language="en", target_language="fr",
                           objective="tlm")
registry.add_parallel_task("again.nmt", corpus, source_language="en", target_language="fr")
registry.add_mixture("again_mix", ["again.tlm", "again.nmt"])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with text, a module that registers it, and a vocabulary; prepared once."""
    (tmp_path / "text").mkdir()
    words = ["ba be bi bo bu", "da de di do du", "ga ge gi go gu"]
    lines = "".join(f"{a} {b}\t{b} {a}\n" for a in words for b in words)
    (tmp_path / "text" / "a.tsv").write_text(lines)
    (tmp_path / "again_mixtures.py").write_text(MODULE)
    texts = {"fr": [line.replace("\t", " ") for line in lines.splitlines()] * 3}
    config = VocabularyConfig(vocab_size=380)
    train_vocabulary(texts, directory=tmp_path / "vocabulary", config=config)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(locations.VOCABULARY_VARIABLE, raising=False)
    monkeypatch.delenv(locations.STORE_VARIABLE, raising=False)
    monkeypatch.delenv("NMT5_DATA", raising=False)
    monkeypatch.setenv("NMT5_MODULES", "")  # so that what the commands set is undone
    before = set(seqio.TaskRegistry.names()), set(seqio.MixtureRegistry.names())
    yield tmp_path
    os.environ.pop("NMT5_DATA", None)
    sys.modules.pop("again_mixtures", None)
    registry.configure()
    locations.configure_task_lengths(None)
    for kind, names in zip((seqio.TaskRegistry, seqio.MixtureRegistry), before, strict=True):
        for name in set(kind.names()) - names:
            kind.remove(name)


def arguments(project, *more):
    return [
        f"--gin.Workspace.vocabulary={project / 'vocabulary'}",
        f"--gin.Workspace.store={project / 'store'}",
        f"--gin.Workspace.data={project / 'text'}",
        "--gin.Workspace.mixtures='again_mix'",
        "--gin.Workspace.modules='again_mixtures'",
        *more,
    ]


@pytest.fixture
def prepare(project, monkeypatch, capsys):
    """Returns a function that prepares and tells whether anything was registered."""
    calls = []
    register = Workspace.register

    def noted(self):
        calls.append(self)
        register(self)

    monkeypatch.setattr(Workspace, "register", noted)

    def run(*more):
        calls.clear()
        # As in a process of its own, which has not registered anything yet.
        monkeypatch.delenv("NMT5_DATA", raising=False)
        assert main.run(["prepare", *arguments(project, *more)]) == 0
        printed = capsys.readouterr().out
        assert ("nothing to do" in printed) == (not calls)
        return bool(calls)

    assert run()
    return run


def test_the_second_time_nothing_is_done_until_something_changes(prepare, project):
    assert not prepare() and not prepare()

    (project / "text" / "b.tsv").write_text("bo bo\tdu du\n")  # one more file for the pattern
    assert prepare() and not prepare()
    (project / "text" / "b.tsv").write_text("bo bo bo\tdu du\n")
    assert prepare() and not prepare()
    (project / "text" / "b.tsv").unlink()
    assert prepare() and not prepare()

    assert prepare("--gin.Workspace.alpha=0.9") and not prepare("--gin.Workspace.alpha=0.9")
    assert prepare()

    mixture = project / "store" / "mixtures" / "again_mix.json"
    mixture.write_text(mixture.read_text().replace("again.tlm", "again.tlx"))
    assert prepare() and "again.tlm" in mixture.read_text() and not prepare()
    shutil.rmtree(project / "store" / "again.en-fr")
    assert prepare() and not prepare()
    # The number of threads changes nothing that is written.
    assert not prepare("--gin.PrepareConfig.num_workers=1")

    (project / "again_mixtures.py").write_text(MODULE + "\n")
    assert prepare() and not prepare()
    for record in (project / "store" / "prepared").iterdir():
        record.write_text("{")
    assert prepare() and not prepare()


def test_a_name_is_resolved_anew_where_settings_differ_from_the_prepared_ones(prepare, project):
    def share(**changes):
        workspace = Workspace(
            vocabulary=str(project / "vocabulary"),
            store=str(project / "store"),
            data=str(project / "text"),
            modules=("again_mixtures",),
            **changes,
        )
        found = workspace.find_mixture("again_mix")
        return {group.objective: group.share for group in found.groups}

    assert share() == {"tlm": 0.5, "nmt": 0.5}
    asked = {"tlm": 0.75, "nmt": 0.25}
    assert share(shares=asked) == asked
    prepare("--gin.Workspace.shares={'tlm': 0.75, 'nmt': 0.25}")
    noted = project / "store" / "mixtures" / "again_mix.settings.json"
    assert json.loads(noted.read_text()) == {"shares": asked}
    assert share(shares=asked) == share() == asked


def test_files_of_wrapped_sources_are_watched_and_unknown_ones_forbid_a_record(tmp_path):
    pair = MosesSource(languages=("en", "fr"), files={"train": "x.{language}"}, root=str(tmp_path))
    expected = tuple(f"{tmp_path}/x.{language}" for language in ("en", "fr"))
    assert watched(filtered(pair, min_characters=2)) == expected

    assert watched(GettextSource(languages=("fr",), packages=("x",))) == ()

    class WithHiddenFiles(GettextSource):
        def file_states(self):
            return ()

    assert watched(WithHiddenFiles(languages=("fr",))) is None
