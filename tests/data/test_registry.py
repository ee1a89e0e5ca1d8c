"""The registry through SeqIO's own calls. SeqIO takes ten seconds to import, hence one file."""

import collections
import pickle

import numpy as np
import pytest
import seqio
import tensorflow as tf

from nmt5.core.errors import ConfigError, DataError, VocabularyError
from nmt5.data import locations, registry
from nmt5.data.sources.base import Corpus
from nmt5.data.spans import fitting_lengths

LENGTHS = {"inputs": 64, "targets": 32}


@pytest.fixture(autouse=True)
def only_this_vocabulary(toy_vocabulary, monkeypatch):
    monkeypatch.delenv(locations.VOCABULARY_VARIABLE, raising=False)
    monkeypatch.delenv(locations.STORE_VARIABLE, raising=False)
    registry.configure(vocabulary=toy_vocabulary)
    yield
    registry.configure()


@pytest.fixture(scope="module", autouse=True)
def registered(list_source, toy_sentences):
    """Tasks and mixtures over toy text, gone again after this file."""
    before = set(seqio.TaskRegistry.names()), set(seqio.MixtureRegistry.names())
    english = [(text,) for text in toy_sentences(600, seed=1)]
    pairs = list(zip(toy_sentences(200, seed=2), toy_sentences(200, seed=3), strict=True))
    mono = Corpus(name="toy.en", source=list_source(("en",), english))
    pair = Corpus(name="toy.en-fr", source=list_source(("en", "fr"), pairs))
    registry.add_span_corruption_task("toy.mlm.en", mono)
    for source, target in (("en", "fr"), ("fr", "en")):
        registry.add_parallel_task(
            f"toy.nmt.{source}.{target}", pair, source_language=source, target_language=target
        )
    registry.add_parallel_task(
        "toy.tlm", pair, source_language="en", target_language="fr", objective="tlm"
    )
    nmt = ["toy.nmt.en.fr", "toy.nmt.fr.en"]
    registry.add_mixture("toy_mix", ["toy.mlm.en", *nmt], alpha=0.3, parallel_share=0.4)
    seqio.MixtureRegistry.add("toy_plain", [("toy.mlm.en", 3.0), ("toy.nmt.en.fr", 1.0)])
    seqio.TaskRegistry.add(
        "toy.foreign",
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files: tf.data.Dataset.from_tensors({"targets": "x"}), ["train"]
        ),
        output_features={"inputs": registry.feature(), "targets": registry.feature()},
    )
    seqio.MixtureRegistry.add("toy_mixed", [("toy.mlm.en", 1.0), ("toy.foreign", 1.0)])
    yield mono
    for kind, names in zip((seqio.TaskRegistry, seqio.MixtureRegistry), before, strict=True):
        for name in set(kind.names()) - names:
            kind.remove(name)


def examples(name, *, number=None, lengths=LENGTHS, **settings):
    settings = {"split": "train", "seed": 1, "num_epochs": 1} | settings
    dataset = seqio.get_mixture_or_task(name).get_dataset(lengths, **settings)
    return list(dataset.take(number or -1).as_numpy_iterator())


def rows(found):
    return [(example["inputs"].tolist(), example["targets"].tolist()) for example in found]


def test_translation_examples(toy_sentences):
    vocabulary = registry.find_vocabulary()
    pairs = dict(zip(toy_sentences(200, seed=2), toy_sentences(200, seed=3), strict=True))
    found = examples("toy.nmt.en.fr", shuffle=False)
    assert len(found) == 200
    for example in found:
        source, target = example["inputs_pretokenized"].decode(), example["targets_pretokenized"]
        assert pairs[source] == target.decode()
        expected = [*vocabulary.encode("<2fr> "), *vocabulary.encode(source)][:63] + [1]
        assert example["inputs"].tolist() == expected
        assert example["targets"].tolist() == vocabulary.encode(target.decode())[:31] + [1]


def test_cut_examples_still_end_in_eos():
    found = examples("toy.nmt.en.fr", lengths={"inputs": 6, "targets": 4}, number=10)
    assert {(len(x["inputs"]), x["inputs"][-1], x["targets"][-1]) for x in found} == {(6, 1, 1)}


def test_without_lengths_pairs_are_whole():
    found = examples("toy.nmt.en.fr", lengths=None, shuffle=False)
    assert max(len(x["inputs"]) for x in found) > 64 or len(found) == 200


def test_full_segments_fill_the_row():
    found = examples("toy.mlm.en")
    shapes = collections.Counter((len(x["inputs"]), len(x["targets"])) for x in found)
    assert shapes.most_common(1)[0][0] == (64, 14)
    # 600 documents are five groups, each of which may have one shorter piece.
    assert sum(shapes.values()) - shapes[64, 14] <= 5


def test_span_corruption_gives_the_text_back(toy_sentences):
    vocabulary = registry.find_vocabulary()
    first_sentinel = vocabulary.token_ids.sentinel(0)
    lowest = vocabulary.token_ids.sentinel(99)
    text = sum((vocabulary.encode(s) for s in toy_sentences(600, seed=1)[::2]), [])
    restored = []
    for example in examples("toy.mlm.en", shuffle=False)[:5]:
        spans, current = {}, None
        for token in example["targets"][:-1]:
            if token >= lowest:
                current = spans.setdefault(int(token), [])
            else:
                current.append(int(token))
        assert list(spans) == [first_sentinel - k for k in range(len(spans))]
        for token in example["inputs"][:-1]:
            restored += spans[int(token)] if token >= lowest else [int(token)]
    assert restored == text[: len(restored)] and len(restored) == 5 * fitting_lengths(64).raw


def test_tlm_has_no_code():
    found = examples("toy.tlm", number=3)
    code = registry.find_vocabulary().encode("<2fr> ")[0]
    assert all(code not in example["inputs"] for example in found)
    assert seqio.get_mixture_or_task("toy.tlm").metric_fns == []


@pytest.mark.parametrize("name", ["toy.mlm.en", "toy.nmt.fr.en", "toy_mix"])
def test_seed_decides(name):
    one, again, other = (rows(examples(name, number=40, seed=seed)) for seed in (7, 7, 8))
    assert one == again != other


def test_noise_differs_between_epochs():
    once = rows(examples("toy.mlm.en", shuffle=False))
    twice = rows(examples("toy.mlm.en", shuffle=False, num_epochs=2))
    assert not set(map(str, once)) >= set(map(str, twice))


def test_validation_and_shards():
    assert seqio.get_mixture_or_task("toy_mix").splits
    assert len(examples("toy.nmt.en.fr", split="validation")) == 200
    halves = [
        rows(examples("toy.nmt.en.fr", shuffle=False, shard_info=seqio.ShardInfo(index, 2)))
        for index in (0, 1)
    ]
    whole = rows(examples("toy.nmt.en.fr", shuffle=False))
    assert sorted(halves[0] + halves[1]) == sorted(whole) and len(halves[0]) == 100


@pytest.mark.parametrize("inputs_length", [64, pytest.param(256, marks=pytest.mark.slow)])
def test_mixture_carries_the_share_of_encoder_tokens(inputs_length):
    lengths = {"inputs": inputs_length, "targets": 128}
    code = registry.find_vocabulary().encode("<2fr> ")[0], registry.find_vocabulary().encode("<2")
    tokens = collections.Counter()
    for example in examples("toy_mix", lengths=lengths, number=2500, num_epochs=None):
        ids = example["inputs"].tolist()
        parallel = ids[0] == code[0] or ids[: len(code[1])] == code[1]
        tokens[parallel] += len(ids)
    assert tokens[True] / sum(tokens.values()) == pytest.approx(0.4, abs=0.03)


def test_t5x_can_use_the_vocabulary():
    features = seqio.get_mixture_or_task("toy_mix").output_features
    vocabulary = features["inputs"].vocabulary
    assert isinstance(vocabulary, seqio.SentencePieceVocabulary)
    assert vocabulary.vocab_size == 460 and vocabulary.extra_ids == 0
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert features["inputs"].add_eos
    copied = pickle.loads(pickle.dumps(vocabulary))
    assert copied == vocabulary and copied.encode("bada") == vocabulary.encode("bada")
    path = registry.find_vocabulary().model_path
    plain = seqio.SentencePieceVocabulary(path)
    assert vocabulary == plain and vocabulary != seqio.SentencePieceVocabulary(path, extra_ids=5)


def test_vocabulary_follows_the_setting(tmp_path, toy_sentences):
    from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

    texts = {"fr": toy_sentences(300, seed=9)}
    config = VocabularyConfig(vocab_size=430)
    train_vocabulary(texts, directory=tmp_path / "second", config=config)
    vocabulary = seqio.get_mixture_or_task("toy_mix").output_features["inputs"].vocabulary
    assert vocabulary.vocab_size == 460
    registry.configure(vocabulary=tmp_path / "second")
    assert vocabulary.vocab_size == 430
    registry.configure()
    with pytest.raises(VocabularyError, match="NMT5_VOCABULARY"):
        examples("toy_mix")


def test_two_vocabularies_in_one_mixture_are_an_error(registered, tmp_path, toy_sentences):
    from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

    config = VocabularyConfig(vocab_size=430)
    train_vocabulary({"fr": toy_sentences(300)}, directory=tmp_path / "own", config=config)
    registry.add_span_corruption_task("toy.own", registered, vocabulary=tmp_path / "own")
    registry.add_mixture("toy_two", ["toy.mlm.en", "toy.own"])
    with pytest.raises(ValueError, match="must use the same vocabulary"):
        examples("toy_two")


def test_translation_tasks_have_metrics():
    functions = seqio.get_mixture_or_task("toy.nmt.en.fr").metric_fns
    scores = {}
    for function in functions:
        scores |= function(targets=["un deux trois quatre"], predictions=["un deux trois quatre"])
    assert scores == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}


def test_corpora_of_a_mixture():
    assert [corpus.name for corpus in registry.corpora_of("toy_mix")] == ["toy.en", "toy.en-fr"]
    assert [corpus.name for corpus in registry.corpora_of("toy.nmt.fr.en")] == ["toy.en-fr"]


def test_resolve(tmp_path, write_corpus):
    vocabulary = registry.find_vocabulary()
    ids = [(np.arange(10, 20),)] * 5
    pairs = [(np.arange(10, 20), np.arange(10, 15))] * 7
    kept = vocabulary.token_ids
    write_corpus(tmp_path, "toy.en", ("en",), {"train": ids}, vocabulary=kept)
    write_corpus(tmp_path, "toy.en-fr", ("en", "fr"), {"train": pairs}, vocabulary=kept)
    found = registry.resolve("toy_mix", store=tmp_path)
    assert {group.objective: group.share for group in found.groups} == {
        "span_corruption": 0.6,
        "nmt": 0.4,
    }
    changed = registry.resolve("toy_mix", store=tmp_path, parallel_share=0.05)
    assert [group.share for group in changed.groups] == [0.95, 0.05]
    alone = registry.resolve("toy.nmt.fr.en", store=tmp_path)
    assert alone.name == "toy.nmt.fr.en" and alone.groups[0].share == 1
    plain = registry.resolve("toy_plain", store=tmp_path)
    assert [task.rate for group in plain.groups for task in group.tasks] == [3.0, 1.0]


def test_unknown_and_foreign_names():
    for call in (registry.resolve, registry.corpora_of, registry.mixture_definition):
        with pytest.raises(
            DataError, match="unknown mixture or task 'toy_mlx'; nearest: 'toy_mix'"
        ):
            call("toy_mlx")
    foreign = registry.mixture_definition("toy_mixed").groups()["ready_made"]
    assert [task.name for task in foreign] == ["toy.foreign"]
    with pytest.raises(DataError, match="no store is named"):
        registry.resolve("toy_mix")
    with pytest.raises(DataError, match="unknown task 'toy.mlm.enn'; nearest: 'toy.mlm.en'"):
        registry.add_mixture("toy_new", ["toy.mlm.enn"])


def test_registration_faults(registered):
    with pytest.raises(ConfigError, match=r"task 'toy\.mlm\.en': it is registered already"):
        registry.add_span_corruption_task("toy.mlm.en", registered)
    with pytest.raises(ConfigError, match="contains invalid characters"):
        registry.add_span_corruption_task("toy-mlm", registered)
    with pytest.raises(ConfigError, match=r"mixture 'toy_mix': it is registered already"):
        registry.add_mixture("toy_mix", ["toy.mlm.en"])
