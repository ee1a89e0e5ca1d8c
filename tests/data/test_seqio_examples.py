"""What SeqIO serves and what the feed serves are made by one function, for every objective."""

import copy

import numpy as np
import pytest
import seqio
import tensorflow as tf

from nmt5.core.errors import ConfigError, VocabularyError
from nmt5.data import locations, registry, seqio_examples
from nmt5.data.dictionaries import Dictionary
from nmt5.data.examples import ExampleMaker, TaskReader
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.mixture import read_mixture, write_mixture
from nmt5.data.objectives import OBJECTIVES, find_objective
from nmt5.data.packing import build_rows
from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.sources.base import Corpus
from nmt5.data.token_dictionary import read_dictionary
from nmt5.data.vocabulary import Vocabulary
from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

SERVED = sorted(name for name in OBJECTIVES if not OBJECTIVES[name].ready_made)
LENGTHS = {"inputs": 96, "targets": 96}


@pytest.fixture(autouse=True)
def only_this_vocabulary(toy_vocabulary, monkeypatch):
    monkeypatch.delenv(locations.VOCABULARY_VARIABLE, raising=False)
    monkeypatch.delenv(locations.STORE_VARIABLE, raising=False)
    before = set(seqio.TaskRegistry.names()), set(seqio.MixtureRegistry.names())
    registry.configure(vocabulary=toy_vocabulary)
    yield
    registry.configure()
    for kind, names in zip((seqio.TaskRegistry, seqio.MixtureRegistry), before, strict=True):
        for name in set(kind.names()) - names:
            kind.remove(name)


@pytest.fixture(scope="module")
def corpora(list_source, toy_sentences):
    english, french = toy_sentences(80, seed=1), toy_sentences(80, seed=2)
    words = sorted({word for text in english for word in text.split()})
    pairs = [(word, word[::-1]) for word in words[::2]]
    return {
        1: Corpus(name="text.en", source=list_source(("en",), [(text,) for text in english])),
        2: Corpus(name="pair.en-fr", source=list_source(("en", "fr"), zip(english, french))),
        "words": Dictionary(
            name="words", language="en", sources=(list_source(("en", "de"), pairs),)
        ),
    }


def register(name, corpora, **settings):
    objective = find_objective(name)
    if objective.replaces_words:
        settings["dictionary"] = corpora["words"]
    if objective.num_languages == 1:
        settings.pop("code_position", None)
        return registry.add_monolingual_task(f"x.{name}", corpora[1], objective=name, **settings)
    return registry.add_parallel_task(
        f"x.{name}",
        corpora[2],
        source_language="en",
        target_language="fr",
        objective=name,
        **settings,
    )


def prepared(corpora, vocabulary, store):
    config = PrepareConfig(store=str(store), vocabulary=str(vocabulary), segment_tokens=60)
    prepare(config, [corpora[1], corpora[2]])


@pytest.fixture(scope="module")
def store(corpora, toy_vocabulary, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    prepared(corpora, toy_vocabulary, root)
    return root


@pytest.mark.parametrize(
    "name, position",
    [(name, "source") for name in SERVED]
    + [(name, "decoder") for name in SERVED if OBJECTIVES[name].language_code],
)
def test_seqio_and_feed_make_the_same(name, position, corpora, store, tmp_path, monkeypatch):
    task = register(name, corpora, code_position=position)
    calls = []

    def recording(objective):
        function = find_objective(objective)

        def call(segments, rng, **settings):
            before = copy.deepcopy(rng)
            example = function(segments, rng, **settings)
            calls.append(([np.array(segment) for segment in segments], before, example))
            return example

        call.segment_tokens = function.segment_tokens
        return call

    monkeypatch.setattr(seqio_examples, "find_objective", recording)
    served = list(
        task.get_dataset(LENGTHS, split="train", shuffle=False, seed=1).take(5).as_numpy_iterator()
    )
    mixture = registry.resolve(f"x.{name}", store=store)
    write_mixture(mixture, tmp_path / "x.json")
    (group,) = read_mixture(tmp_path / "x.json").groups
    (spec,) = group.tasks
    words = spec.dictionary and read_dictionary(
        str(store), spec.dictionary, vocabulary=mixture.vocabulary.fingerprint
    )
    make = ExampleMaker(group, ids=mixture.vocabulary, inputs_length=96, targets_length=96)
    made = set()
    for segments, rng, example in calls:
        reader = TaskReader(
            task=spec, records=[tuple(segments)], reverse=False, mean_tokens=1, dictionary=words
        )
        ours = make(reader, 0, rng=rng)
        assert ours.inputs.tolist() == example.inputs.tolist()
        assert ours.targets.tolist() == example.targets.tolist()
        made.add((tuple(ours.inputs.tolist()), tuple(ours.targets.tolist())))
    assert len(served) > 3
    for example in served:
        assert (tuple(example["inputs"].tolist()), tuple(example["targets"].tolist())) in made
    if position == "decoder":
        code = mixture.groups[0].tasks[0].target_prefix
        assert code and all(tuple(e["targets"][: len(code)]) == code for e in served)

    # The arrays that T5X makes of such an example are the feed's, loss weights included.
    example = served[0]
    lengths = {"inputs": 96, "targets": 96}
    dataset = tf.data.Dataset.from_tensors({name: example[name] for name in LENGTHS})
    theirs = next(seqio.EncDecFeatureConverter(pack=False)(dataset, lengths).as_numpy_iterator())
    rows = build_rows(
        [[(example["inputs"], example["targets"])]], inputs_length=96, targets_length=96
    )
    real = rows["decoder_loss_weights"][0] == 1
    for feature, values in theirs.items():
        ours = rows[feature][0]
        if feature == "decoder_input_tokens":  # SeqIO leaves EOS behind the last position
            values, ours = values[real], ours[real]
        assert values.tolist() == ours.tolist(), feature


def test_feed_of_switched_words_and_decoder_codes(corpora, toy_vocabulary, store):
    names = ["span_corruption", "alm", "csp", "ras", "nmt"]
    for name in names:
        register(name, corpora, code_position="decoder")
    registry.add_mixture("x_all", [f"x.{name}" for name in names], parallel_share=0.5)
    mixture = registry.resolve("x_all", store=store)
    vocabulary = Vocabulary.load(toy_vocabulary)
    config = DataConfig(
        mixture="x",
        store=str(store),
        inputs_length=96,
        encoder_tokens_per_batch=1920,
        row_lengths={"nmt": (96, 96), "ras": (96, 96)},
    )
    arrays = next(iter(Feed(mixture, config))).arrays
    code = vocabulary.encode("<2fr> ")
    for name in ("ras", "nmt"):
        rows = arrays[name]
        starts = rows["decoder_positions"] == 0
        starts &= rows["decoder_segment_ids"] > 0
        assert set(rows["decoder_target_tokens"][starts]) == {code[0]}
        assert not np.isin(rows["encoder_input_tokens"], code[:1]).any()
        assert (rows["decoder_loss_weights"][starts] == 1).all()
    for name in ("ras", "alm", "csp"):
        text = vocabulary.decode(arrays[name]["encoder_input_tokens"][0].tolist())
        assert text, name
    again = registry.resolve(
        "x_all", store=store, code_position="source", code_template="[{language}]"
    )
    tasks = {task.name: task for group in again.groups for task in group.tasks}
    assert tasks["x.nmt"].target_prefix == ()
    assert vocabulary.decode(tasks["x.nmt"].prefix) == "[fr]"
    without = registry.resolve("x_all", store=store, code_template="")
    assert all(not t.prefix + t.target_prefix for group in without.groups for t in group.tasks)


def test_the_decoders_code_is_no_part_of_a_prediction(corpora):
    task = register("nmt", corpora, code_position="decoder")
    assert task.postprocess_fn("<2fr> bonjour", is_target=False) == "bonjour"
    assert task.postprocess_fn("<2fr>bonjour", example={}, is_target=False) == "bonjour"
    assert task.postprocess_fn("bonjour", is_target=True) == "bonjour"


def test_two_vocabularies_in_one_process(corpora, toy_vocabulary, tmp_path, toy_sentences):
    other = tmp_path / "other"
    train_vocabulary(
        {"fr": toy_sentences(300, seed=9)}, directory=other, config=VocabularyConfig(vocab_size=430)
    )
    register("nmt", corpora)
    registry.add_parallel_task(
        "x.other", corpora[2], source_language="en", target_language="fr", vocabulary=other
    )
    sizes = {
        name: seqio.get_mixture_or_task(name).output_features["inputs"].vocabulary.vocab_size
        for name in ("x.nmt", "x.other")
    }
    assert sizes == {"x.nmt": 460, "x.other": 430}
    for name, vocabulary in (("x.nmt", toy_vocabulary), ("x.other", other)):
        store = tmp_path / name
        prepared(corpora, vocabulary, store)
        assert registry.resolve(name, store=store).vocabulary.size == sizes[name]
        example = next(iter(
            seqio.get_mixture_or_task(name)
            .get_dataset(LENGTHS, split="train", shuffle=False, seed=1)
            .as_numpy_iterator()
        ))  # fmt: skip
        assert max(example["inputs"]) < sizes[name]
    with pytest.raises(
        VocabularyError, match="'x.other' has a vocabulary of its own, .*other, but"
    ):
        registry.resolve("x.other", store=tmp_path / "x.other", vocabulary=toy_vocabulary)
    registry.add_parallel_task(
        "x.third", corpora[2], source_language="en", target_language="fr", vocabulary=toy_vocabulary
    )
    with pytest.raises(ConfigError, match="'x_two': its tasks have 2 vocabularies of their own"):
        registry.add_mixture("x_two", ["x.third", "x.other"])


def test_names_that_are_taken_and_settings_that_are_not(corpora):
    register("nmt", corpora)
    with pytest.raises(ConfigError, match="task 'x.nmt': it is registered already"):
        register("nmt", corpora)
    registry.add_mixture("x_mix", ["x.nmt"])
    with pytest.raises(ConfigError, match="mixture 'x_mix': it is registered already"):
        registry.add_mixture("x_mix", ["x.nmt"])
    with pytest.raises(ConfigError, match="unknown setting 'alhpa'; nearest: 'alpha'"):
        registry.add_mixture("x_new", ["x.nmt"], alhpa=0.3)
    with pytest.raises(ConfigError, match="unknown code_position 'decode'; nearest: 'decoder'"):
        register("denoised_nmt", corpora, code_position="decode")
    with pytest.raises(ConfigError, match="'ras' takes a dictionary of 'en' words, found none"):
        registry.add_parallel_task(
            "x.ras", corpora[2], source_language="en", target_language="fr", objective="ras"
        )
    with pytest.raises(ConfigError, match="'nmt' takes no dictionary, found one of 'en' words"):
        registry.add_parallel_task(
            "x.nmt2", corpora[2], source_language="en", target_language="fr",
            dictionary=corpora["words"],
        )  # fmt: skip
