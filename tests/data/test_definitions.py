import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.definitions import CODE_TEMPLATE, MixtureDefinition, TaskDefinition
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture
def task(list_source):
    def make(name, languages, objective, **fields):
        held = tuple(sorted(languages))
        corpus = Corpus(name=".".join(held), source=list_source(held, [held]))
        return TaskDefinition(
            name=name, corpus=corpus, objective=objective, languages=languages, **fields
        )

    return make


def test_prefix_is_the_target_languages_code(task, toy_vocabulary):
    vocabulary = Vocabulary.load(toy_vocabulary)
    there = task("there", ("en", "fr"), "nmt", code_template=CODE_TEMPLATE)
    assert vocabulary.pieces(there.prefix(vocabulary)) == ["▁<2fr>"]
    # A language without a piece of its own is spelt.
    back = task("back", ("fr", "en"), "nmt", code_template=CODE_TEMPLATE)
    assert vocabulary.decode(back.prefix(vocabulary)) == "<2en>"
    assert task("none", ("fr", "en"), "tlm").prefix(vocabulary) == ()


def test_languages_and_objective_must_fit(task, list_source):
    with pytest.raises(ConfigError, match="objective 'nmt' takes 2 text"):
        task("wrong", ("fr",), "nmt")
    with pytest.raises(ConfigError, match="unknown objective 'nmtt'; nearest: 'nmt'"):
        task("wrong", ("en", "fr"), "nmtt")
    with pytest.raises(DataError, match="unknown language 'qq'"):
        task("wrong", ("qq",), "span_corruption")
    corpus = Corpus(name="x", source=list_source(("en", "fr"), []))
    with pytest.raises(ConfigError, match=r"but corpus 'x' holds \('en', 'fr'\)"):
        TaskDefinition(name="wrong", corpus=corpus, objective="nmt", languages=("en", "de"))


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a b", "../x"])
def test_corpus_name_is_a_directory_name(name, list_source):
    with pytest.raises(ConfigError, match="corpus name"):
        Corpus(name=name, source=list_source(("en",), []))


def test_shares(task):
    mlm = task("m", ("fr",), "span_corruption")
    nmt, tlm = task("n", ("en", "fr"), "nmt"), task("t", ("en", "fr"), "tlm")

    def shares(*tasks):
        return MixtureDefinition(name="x", tasks=tasks, parallel_share=0.5).group_shares()

    assert shares(nmt, mlm, tlm) == {"span_corruption": 0.5, "nmt": 0.25, "tlm": 0.25}
    assert shares(mlm) == {"span_corruption": 1.0}
    assert shares(nmt) == {"nmt": 1.0}
    assert shares(nmt, tlm) == {"nmt": 0.5, "tlm": 0.5}


def test_mixture_settings_are_checked(task):
    mlm = task("m", ("fr",), "span_corruption")
    for share in (0, 1, -0.1):
        with pytest.raises(ConfigError, match="expected 0 < share < 1"):
            MixtureDefinition(name="x", tasks=(mlm,), parallel_share=share)
    with pytest.raises(ConfigError, match="alpha 3"):
        MixtureDefinition(name="x", tasks=(mlm,), alpha=3)
    with pytest.raises(ConfigError, match="it has no task"):
        MixtureDefinition(name="x", tasks=())
    other = task("o", ("en",), "span_corruption", settings={"noise_density": 0.3})
    with pytest.raises(DataError, match="one mixture, one setting"):
        MixtureDefinition(name="x", tasks=(mlm, other)).groups()
