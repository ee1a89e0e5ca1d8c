from collections import Counter

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError, VocabularyError
from nmt5.data.definitions import CODE_TEMPLATE, MixtureDefinition, TaskDefinition
from nmt5.data.layout import DataConfig
from nmt5.data.mixture import TokenIds, read_mixture, write_mixture
from nmt5.data.mixture_audit import plan_run
from nmt5.data.resolution import (
    corpus_size,
    encoder_tokens_per_example,
    example_rates_of,
    resolve_definition,
)
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture
def vocabulary(toy_vocabulary):
    return Vocabulary.load(toy_vocabulary)


@pytest.fixture
def tasks(list_source, toy_sentences):
    english = [(text,) for text in toy_sentences(60, seed=1)]
    pairs = zip(toy_sentences(40, seed=2), toy_sentences(40, seed=3), strict=True)
    mono = Corpus(name="text.en", source=list_source(("en",), [*english, ("",)]))
    pair = Corpus(name="pair.en-fr", source=list_source(("en", "fr"), pairs))
    directions = [("en", "fr"), ("fr", "en")]
    return (
        TaskDefinition(name="mlm", corpus=mono, objective="span_corruption", languages=("en",)),
        *(
            TaskDefinition(
                name=f"nmt.{source}.{target}",
                corpus=pair,
                objective="nmt",
                languages=(source, target),
                code_template=CODE_TEMPLATE,
            )
            for source, target in directions
        ),
    )


@pytest.fixture
def store(tmp_path, tasks, vocabulary, write_corpus):
    for corpus in {task.corpus.name: task.corpus for task in tasks}.values():
        records = [
            tuple(np.array(vocabulary.encode(text), np.int32) for text in example.values())
            for shard in corpus.source.shards("train")
            for example in corpus.source.read("train", shard, Counter())
        ]
        write_corpus(
            tmp_path,
            corpus.name,
            corpus.source.languages,
            {"train": records},
            vocabulary=vocabulary.token_ids,
        )
    return tmp_path


def test_counting_the_source_and_reading_the_store_agree(tasks, store, vocabulary):
    for task in tasks:
        counted = corpus_size(task.corpus, store=None, vocabulary=vocabulary)
        assert counted == corpus_size(task.corpus, store=store, vocabulary=vocabulary)
    assert corpus_size(tasks[0].corpus, store=None, vocabulary=vocabulary).examples == 60


def test_mean_encoder_tokens_are_those_of_the_examples(tasks, vocabulary):
    """The mean over every pair, against the objective asked once for the mean pair."""
    for task in tasks[1:]:
        size = corpus_size(task.corpus, store=None, vocabulary=vocabulary)
        source = task.languages[0]
        prefix = len(task.prefix(vocabulary))
        expected = size.tokens[source] / size.examples + prefix + 1
        found = encoder_tokens_per_example(task, size, vocabulary=vocabulary, inputs_length=512)
        assert found == pytest.approx(expected, abs=1e-6)


def test_monolingual_rows_are_full(tasks, vocabulary):
    size = corpus_size(tasks[0].corpus, store=None, vocabulary=vocabulary)
    found = encoder_tokens_per_example(tasks[0], size, vocabulary=vocabulary, inputs_length=64)
    assert 62 <= found <= 64


def test_rates_carry_the_share_of_tokens(tasks, vocabulary):
    definition = MixtureDefinition(name="x", tasks=tasks, parallel_share=0.2)
    rates = example_rates_of(definition, store=None, vocabulary=vocabulary, inputs_length=64)
    tokens = {
        task.name: rates[task.name]
        * encoder_tokens_per_example(
            task,
            corpus_size(task.corpus, store=None, vocabulary=vocabulary),
            vocabulary=vocabulary,
            inputs_length=64,
        )
        for task in tasks
    }
    assert 1 - tokens["mlm"] / sum(tokens.values()) == pytest.approx(0.2)
    assert rates["nmt.en.fr"] == pytest.approx(rates["nmt.fr.en"])


def test_resolved_mixture(tasks, store, vocabulary, tmp_path):
    definition = MixtureDefinition(name="x", tasks=tasks, parallel_share=0.2, alpha=0.5)
    found = resolve_definition(definition, store=store, vocabulary=vocabulary, inputs_length=64)
    assert [(g.objective, g.share) for g in found.groups] == [
        ("span_corruption", 0.8),
        ("nmt", 0.2),
    ]
    mlm, nmt = found.groups
    assert mlm.tasks[0].prefix == () and mlm.tasks[0].corpus == "text.en"
    assert [task.rate for task in nmt.tasks] == [0.5, 0.5]
    assert vocabulary.pieces(nmt.tasks[0].prefix) == ["▁<2fr>"]
    assert nmt.tasks[1].languages == ("fr", "en") and nmt.tasks[1].corpus == "pair.en-fr"
    assert found.vocabulary == vocabulary.token_ids
    write_mixture(found, tmp_path / "x.json")
    assert read_mixture(tmp_path / "x.json") == found


def test_own_rates_of_examples_become_shares_of_tokens(tasks, store, vocabulary):
    wanted = MixtureDefinition(name="x", tasks=tasks, parallel_share=0.2)
    rates = example_rates_of(wanted, store=store, vocabulary=vocabulary, inputs_length=64)
    definition = MixtureDefinition(name="y", tasks=tasks, rates=rates)
    found = resolve_definition(definition, store=store, vocabulary=vocabulary, inputs_length=64)
    assert [group.share for group in found.groups] == pytest.approx([0.8, 0.2], abs=1e-3)


def test_faults_are_named(tasks, store, vocabulary, tmp_path, write_corpus):
    definition = MixtureDefinition(name="x", tasks=tasks)
    with pytest.raises(
        DataError, match=r"2 corpora are not in the store .*: pair\.en-fr, text\.en"
    ):
        resolve_definition(
            definition, store=tmp_path / "no", vocabulary=vocabulary, inputs_length=64
        )
    empty = {"train": [], "validation": []}
    write_corpus(tmp_path, "text.en", ("en",), empty, vocabulary=vocabulary.token_ids)
    with pytest.raises(DataError, match="1 tasks have no training example: mlm"):
        resolve_definition(definition, store=store, vocabulary=vocabulary, inputs_length=64)
    other = TokenIds(size=460, num_sentinels=100, fingerprint="0" * 64)
    write_corpus(tmp_path, "text.en", ("en",), empty, vocabulary=other)
    with pytest.raises(VocabularyError, match=r"text\.en: expected fingerprint 000000000000…"):
        resolve_definition(definition, store=store, vocabulary=vocabulary, inputs_length=64)


def test_epoch_caps_hold_in_the_run_that_they_are_given_for(
    list_source, toy_sentences, vocabulary, tmp_path, write_corpus
):
    tasks = []
    for other, number in (("fr", 2000), ("sw", 40)):
        english = toy_sentences(number, seed=2)
        if other == "sw":
            english = [f"{text} {text} {text}" for text in english]
        pairs = zip(english, toy_sentences(number, seed=3), strict=True)
        corpus = Corpus(name=f"pair.en-{other}", source=list_source(("en", other), pairs))
        tasks.append(
            TaskDefinition(name=other, corpus=corpus, objective="nmt", languages=("en", other))
        )
        records = [
            tuple(np.array(vocabulary.encode(text), np.int32) for text in example.values())
            for shard in corpus.source.shards("train")
            for example in corpus.source.read("train", shard, Counter())
        ]
        write_corpus(
            tmp_path,
            corpus.name,
            ["en", other],
            {"train": records},
            vocabulary=vocabulary.token_ids,
        )
    batch, steps = 4096, 20
    make = {"name": "x", "tasks": tuple(tasks), "alpha": 0.0}
    resolved = {
        caps: resolve_definition(
            MixtureDefinition(
                **make, max_epochs=caps, budget_tokens=batch * steps if caps else None
            ),
            store=tmp_path,
            vocabulary=vocabulary,
            inputs_length=512,
        )
        for caps in (None, 3.0)
    }
    config = DataConfig(
        mixture="x",
        store=str(tmp_path),
        row_lengths={"nmt": (256, 256)},
        encoder_tokens_per_batch=batch,
    )
    (plan,) = plan_run(resolved[3.0], config, steps=steps)
    epochs = {task.task.name: task.epochs for task in plan.tasks}
    assert epochs["sw"] == pytest.approx(3.0, rel=0.05) and epochs["fr"] < 3
    (free,) = plan_run(resolved[None], config, steps=steps)
    assert free.tasks[1].epochs > 10
    with pytest.raises(DataError, match="raise max_epochs"):
        resolve_definition(
            MixtureDefinition(**make, max_epochs=0.1, budget_tokens=batch * steps),
            store=tmp_path,
            vocabulary=vocabulary,
            inputs_length=512,
        )
    with pytest.raises(ConfigError, match="give both"):
        MixtureDefinition(**make, max_epochs=3.0)
