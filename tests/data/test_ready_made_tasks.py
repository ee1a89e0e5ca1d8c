"""A SeqIO task of somebody else's, with TensorFlow preprocessors, from definition to feed."""

import dataclasses

import numpy as np
import pytest
import seqio
import tensorflow as tf

from nmt5.cli.workspace import Workspace
from nmt5.core.errors import ConfigError, DataError, VocabularyError
from nmt5.data import locations, registry, store
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.seqio_task import corpus_name
from nmt5.data.vocabulary_training import texts_by_language

LENGTHS = (24, 16)


@pytest.fixture(autouse=True)
def settings(toy_vocabulary, monkeypatch):
    monkeypatch.delenv(locations.VOCABULARY_VARIABLE, raising=False)
    monkeypatch.delenv(locations.STORE_VARIABLE, raising=False)
    registry.configure(vocabulary=toy_vocabulary)
    locations.configure_task_lengths(LENGTHS)
    yield
    registry.configure()
    locations.configure_task_lengths(None)


@seqio.map_over_dataset(num_seeds=1)
def drop_words(example, seed):
    """Noise of TensorFlow's: a random half of the ids is taken out of the inputs."""
    ids = example["inputs"]
    kept = tf.random.stateless_uniform(tf.shape(ids), seed) < 0.5
    example["inputs"] = tf.boolean_mask(ids, kept)
    return example


def failing(dataset):
    return dataset.map(lambda example: example | {"inputs": tf.strings.to_number("x")})


@pytest.fixture(scope="module", autouse=True)
def registered(list_source, toy_sentences, toy_vocabulary, tmp_path_factory):
    before = set(seqio.TaskRegistry.names()), set(seqio.MixtureRegistry.names())
    root = tmp_path_factory.mktemp("text")
    for number in range(2):
        lines = "\n".join(toy_sentences(60, seed=number))
        (root / f"{number}.txt").write_text(lines + "\n")
    source = seqio.TextLineDataSource({"train": f"{root}/*.txt", "validation": f"{root}/1.txt"})
    steps = [
        seqio.map_over_dataset(lambda line: {"inputs": line, "targets": line}),
        seqio.preprocessors.tokenize,
        drop_words,
        seqio.preprocessors.append_eos_after_trim,
    ]
    model = str(toy_vocabulary / "sentencepiece.model")
    own = seqio.Feature(seqio.SentencePieceVocabulary(model), add_eos=True)
    bytes_ = seqio.Feature(seqio.ByteVocabulary(), add_eos=True)
    for name, feature, preprocessors in (
        ("other:noisy", own, steps),
        ("other_bytes", bytes_, steps),
        ("other_failing", own, [*steps, failing]),
        ("other_targets_only", own, [*steps]),
    ):
        sides = ("targets",) if name == "other_targets_only" else ("inputs", "targets")
        seqio.TaskRegistry.add(
            name,
            source=source,
            preprocessors=preprocessors,
            output_features=dict.fromkeys(sides, feature),
        )
    english = [(text,) for text in toy_sentences(200, seed=5)]
    corpus = Corpus(name="ours.en", source=list_source(("en",), english))
    registry.add_span_corruption_task("ours.mlm.en", corpus)
    seqio.MixtureRegistry.add("with_other", [("ours.mlm.en", 1.0), ("other:noisy", 1.0)])
    yield
    for kind, names in zip((seqio.TaskRegistry, seqio.MixtureRegistry), before, strict=True):
        for name in set(kind.names()) - names:
            kind.remove(name)


@pytest.fixture
def config(tmp_path, toy_vocabulary):
    return PrepareConfig(store=str(tmp_path / "store"), vocabulary=str(toy_vocabulary))


def stored(config, split="train"):
    name = corpus_name("other:noisy")
    files = store.OpenFiles()  # a corpus that was written again is not read from an open file
    records = store.open_split(config.store, name, split, open_files=files)
    return [tuple(s.tolist() for s in record) for record in records]


def test_prepared_once_and_served_as_the_task_made_it(config, toy_vocabulary):
    corpora = registry.corpora_of("with_other")
    assert [corpus.name for corpus in corpora] == ["ours.en", corpus_name("other:noisy")]
    prepare(config, corpora)
    pairs = stored(config)
    assert len(pairs) == 120 and len(stored(config, "validation")) == 60
    # What went in comes out: text without noise in the targets, a part of it in the inputs.
    vocabulary = seqio.SentencePieceVocabulary(str(toy_vocabulary / "sentencepiece.model"))
    lines = {
        (*vocabulary.encode(line)[: LENGTHS[1] - 1], 1): vocabulary.encode(line)
        for file in seqio.TaskRegistry.get("other:noisy").source.list_shards("train")
        for line in tf.io.gfile.GFile(file).read().split("\n")
    }
    for inputs, targets in pairs:
        rest = iter(lines[tuple(targets)])
        assert all(token in rest for token in inputs[:-1]) and inputs[-1] == 1
    kept = sum(len(i) - 1 for i, _ in pairs) / sum(len(lines[tuple(t)]) for _, t in pairs)
    assert 0.4 < kept < 0.6

    mixture = registry.resolve("with_other", store=config.store)
    group = next(g for g in mixture.groups if g.objective == "ready_made")
    assert group.tasks[0].name == "other:noisy" and group.settings["made_for"] == LENGTHS
    feed_config = DataConfig(
        mixture="", store=config.store, inputs_length=64, encoder_tokens_per_batch=1024
    )
    feed = Feed(mixture, feed_config)
    row = feed.layout["ready_made"]
    assert (row.inputs_length, row.targets_length) == LENGTHS
    iterator = iter(feed)
    batches = [next(iterator) for _ in range(4)]
    state = iterator.get_state()
    expected = {(tuple(i), tuple(t)) for i, t in pairs}
    for batch in batches:
        arrays = batch.arrays["ready_made"]
        for index in range(row.rows):
            for segment in range(1, arrays["encoder_segment_ids"][index].max() + 1):
                example = tuple(
                    tuple(arrays[ids][index][arrays[ids_of][index] == segment].tolist())
                    for ids, ids_of in (
                        ("encoder_input_tokens", "encoder_segment_ids"),
                        ("decoder_target_tokens", "decoder_segment_ids"),
                    )
                )
                assert example in expected
        assert batch.truncated == 0
    resumed = iter(Feed(mixture, feed_config))
    resumed.set_state(state)
    for _ in range(3):
        one, other = next(iterator), next(resumed)
        for objective, arrays in one.arrays.items():
            for name, values in arrays.items():
                np.testing.assert_array_equal(values, other.arrays[objective][name])


def test_noise_is_the_same_in_every_preparation_and_changes_are_seen(config, tmp_path):
    corpora = registry.corpora_of("other:noisy")
    prepare(config, corpora)
    other = dataclasses.replace(config, store=str(tmp_path / "other"), num_workers=1)
    prepare(other, corpora)
    assert stored(config) == stored(other)
    assert prepare(config, registry.corpora_of("other:noisy")).kept == (corpora[0].name,)
    locations.configure_task_lengths((12, 16))
    assert prepare(config, registry.corpora_of("other:noisy")).rebuilt == (corpora[0].name,)
    assert max(len(inputs) for inputs, _ in stored(config)) <= 12


def test_what_cannot_be_prepared_is_named(config):
    with pytest.raises(VocabularyError, match=r"task 'other_bytes': feature 'inputs' has voc"):
        prepare(config, registry.corpora_of("other_bytes"))
    with pytest.raises(DataError, match=r"other_targets_only.*'inputs' and 'targets' of token ids"):
        prepare(config, registry.corpora_of("other_targets_only"))
    with pytest.raises(DataError, match=r"task 'other_failing', split 'train': its SeqIO pipeline"):
        prepare(config, registry.corpora_of("other_failing"))
    with pytest.raises(ConfigError, match=r"shares=\{'ready_made': 0.1"):
        registry.add_mixture("no_share", ["ours.mlm.en", "other:noisy"])


def test_a_share_may_be_given_and_seqio_draws_by_it_too(config, toy_vocabulary):
    shares = {"span_corruption": 0.75, "ready_made": 0.25}
    registry.add_mixture("shared", ["ours.mlm.en", "other:noisy"], shares=shares)
    prepare(config, registry.corpora_of("shared"))
    mixture = registry.resolve("shared", store=config.store)
    assert {group.objective: group.share for group in mixture.groups} == shares
    dataset = seqio.get_mixture_or_task("shared").get_dataset(
        {"inputs": 64, "targets": 32}, split="train", shuffle=False, seed=0, num_epochs=None
    )
    assert len(next(dataset.as_numpy_iterator())["targets"])


def test_a_vocabulary_is_not_trained_on_ids():
    corpora = registry.corpora_of("with_other")
    assert set(texts_by_language(corpora)) == {"en"}


def test_workspaces_ask_for_their_lengths(toy_vocabulary, tmp_path):
    workspace = Workspace(
        vocabulary=str(toy_vocabulary),
        store=str(tmp_path),
        mixtures=("other:noisy",),
        modules=(),
        task_lengths=(30, 20),
    )
    (corpus,) = workspace.corpora()
    assert corpus.source.lengths == (30, 20)
