"""Benchmarks as SeqIO tasks: examples, metrics, and that settings train on what they should."""

import dataclasses
import functools
import itertools
import json
import warnings

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError

with warnings.catch_warnings():  # TensorFlow's own deprecations, at import
    warnings.simplefilter("ignore")
    import seqio
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from nmt5.evaluation.benchmarks import registration

from nmt5.evaluation.benchmarks import tfds_tatoeba
from nmt5.evaluation.benchmarks.benchmark import Part
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.text_to_answer.label_text import paraphrase_text
from nmt5.evaluation.text_to_answer.question_text import pad_punctuation

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def byte_vocabulary(monkeypatch, empty_registries):
    """Tasks need a vocabulary; bytes need no file."""
    byte = seqio.Feature(vocabulary=seqio.ByteVocabulary(), add_eos=True)
    monkeypatch.setattr(registration, "feature", lambda path: byte)


@pytest.fixture
def squad_files(tmp_path):
    def write(name, answers):
        question = {"id": "1", "question": "Wer?", "answers": answers}
        paragraphs = [{"context": "Ada, 中文.", "qas": [question]}]
        (tmp_path / name).write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))

    write("train-v1.1.json", [{"text": "Ada", "answer_start": 0}])
    two = [{"text": "中文", "answer_start": 5}, {"text": "Ada", "answer_start": 0}]
    for language in BENCHMARKS["xquad"].languages:
        write(f"xquad.{language}.json", two)
    return tmp_path


def test_zeroshot_trains_on_squad_and_evaluates_every_language(squad_files):
    directories = {"squad": squad_files, "xquad": squad_files}
    names = registration.add_benchmark("xquad", directories=directories, few_seeds=(7,))
    assert names == ("xquad_zeroshot", "xquad_translate_train", "xquad_few_shot_seed7")
    mixture = seqio.get_mixture_or_task("xquad_zeroshot")
    members = {
        split: [task.name for task in mixture.tasks if split in task.splits]
        for split in ("train", "validation", "test")
    }
    assert members["train"] == ["squad_train.en"]
    assert members["validation"] == ["squad_eval.en"]
    assert len(members["test"]) == 12
    lengths = {"inputs": 64, "targets": 16}
    dataset = mixture.get_dataset(lengths, split="train", shuffle=False, num_epochs=1)
    (example,) = dataset.as_numpy_iterator()
    decoded = mixture.output_features["targets"].vocabulary.decode(example["targets"].tolist())
    assert decoded.startswith("Ada")
    assert example["targets"][-1] == 1


def test_metrics_see_all_references(squad_files):
    registration.add_benchmark(
        "xquad", directories={"squad": squad_files, "xquad": squad_files}, few_seeds=()
    )
    task = seqio.get_mixture_or_task("xquad_eval.zh")
    dataset = task.get_dataset({"inputs": 64, "targets": 16}, split="test", shuffle=False)
    (example,) = dataset.as_numpy_iterator()
    references = task.postprocess_fn("中文", example=example, is_target=True)
    assert references == ["中文", "Ada"]
    found = {}
    for metric in task.metric_fns:
        found |= metric([references], [task.postprocess_fn("中", example=example)])
    assert (found["em"], round(found["f1_tokens"], 3), found["wrong_script"]) == (0, 66.667, 0)
    assert all(type(value) is float for value in found.values())


def test_few_shot_examples_are_limited(tmp_path):
    rows = [f"a {i}\tb\t{i % 2}\n" for i in range(300)]
    (tmp_path / "train-en.tsv").write_text("".join(rows))
    registration.add_benchmark("pawsx", directories={"pawsx": tmp_path}, few_seeds=(0, 1))
    drawn = []
    for seed in (0, 1):
        task = seqio.TaskRegistry.get(f"pawsx_few100_seed{seed}.en")
        drawn.append([one.id for one in task.source.examples("train")])
    assert [len(ids) for ids in drawn] == [100, 100]
    assert drawn[0] != drawn[1]


def test_files_are_looked_for_when_examples_are_asked_for(tmp_path, monkeypatch):
    registration.add_benchmarks()
    source = seqio.TaskRegistry.get("uner_eval.pt_bosque").source
    with pytest.raises(DataError, match=r"uner: TFDS does not have it, .* NMT5_BENCHMARKS to"):
        next(source.examples("test"))
    for root, word in (("a", "Rio"), ("b", "Porto")):
        (tmp_path / root / "uner").mkdir(parents=True)
        file = tmp_path / root / "uner" / "pt_bosque-ud-test.iob2"
        file.write_text(f"1\t{word}\tB-LOC\t-\t-\n\n")
    monkeypatch.setenv("NMT5_BENCHMARKS", str(tmp_path / "a"))
    assert next(source.examples("test")).targets == "LOC: Rio"
    # Who says it plainly is heard, though the task is there already.
    registration.add_benchmark("uner", directories={"uner": tmp_path / "b" / "uner"})
    assert next(source.examples("test")).targets == "LOC: Porto"
    registration.add_benchmarks()
    assert next(source.examples("test")).targets == "LOC: Porto"
    assert seqio.TaskRegistry.get("uner_eval.pt_bosque").source is source


def test_another_vocabulary_than_the_registered_one_is_refused(monkeypatch):
    registration.add_benchmark("squad")
    other = seqio.Feature(vocabulary=seqio.ByteVocabulary(extra_ids=9), add_eos=True)
    monkeypatch.setattr(registration, "feature", lambda path: other)
    with pytest.raises(ConfigError, match=r"squad_eval.en': it is registered already with another"):
        registration.add_benchmark("squad", vocabulary="other")


def test_pairs_are_registered_when_they_are_named():
    registration.add_benchmarks()
    name = "flores_eval.deu_Latn_to_fra_Latn"
    assert name not in seqio.TaskRegistry.names()
    assert registration.find_registered(name) == name
    assert seqio.TaskRegistry.get(name).splits == ("validation", "test")
    assert registration.find_registered("xnli_zeroshot") == "xnli_zeroshot"
    message = "unknown SeqIO task or mixture 'xnli_zeroshto'; nearest: 'xnli_zeroshot'"
    with pytest.raises(ConfigError, match=message):
        registration.find_registered("xnli_zeroshto")


@pytest.mark.parametrize("name", [name for name, row in BENCHMARKS.items() if row.tfds])
def test_tasks_of_tfds_register_without_reading(name):
    names = registration.add_benchmark(name)
    assert all(name in seqio.MixtureRegistry.names() for name in names)


def test_punctuation_is_padded_as_mt5_pads_it():
    texts = [
        "François (1515–1547)",
        "3,5\u00a0km\u2009_x_\x0b!",
        "हिन्दी।",
        "中文，“好”",
        "e\u0301\t\r\nx",
        "²½Ⅷ",
    ]
    expected = tf.strings.regex_replace(texts, r"([^_\s\p{N}\p{L}\p{M}])", r" \1 ")
    expected = tf.strings.regex_replace(expected, r"\s+", " ")
    assert [pad_punctuation(text) for text in texts] == [
        text.decode() for text in expected.numpy().tolist()
    ]


def test_paraphrases_are_written_as_t5_writes_them():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from t5.data import preprocessors
    row = {"sentence1": "a  b", "sentence2": "c.", "label": np.int64(1)}
    dataset = tf.data.Dataset.from_tensors({key: tf.constant(row[key]) for key in row})
    (expected,) = preprocessors.glue(
        dataset,
        benchmark_name="paws",
        label_names=["different_meaning", "paraphrase"],
        feature_names=["sentence1", "sentence2"],
        id_key=None,
    ).as_numpy_iterator()
    found = paraphrase_text(BENCHMARKS["pawsx"].tfds.record(row, "0", "en"))
    assert (found.inputs.encode(), found.targets.encode()) == (
        expected["inputs"],
        expected["targets"],
    )


@pytest.mark.parametrize(
    ("name", "language", "split"),
    [
        ("xquad", "ar", "test"),
        ("squad", "en", "train"),
        ("mlqa", "hi", "validation"),
        ("multi_nli", "en", "train"),
        ("pawsx", "ko", "validation"),
        ("copa", "en", "train"),
        ("wikiann_ner", "yo", "test"),
    ],
)
def test_rows_of_tfds_have_the_form_that_is_read(name, language, split):
    """TFDS invents rows of the data set's declared form; no data is at hand to read real ones."""
    part = Part(benchmark=name, language=language, split=split)
    with tfds.testing.mock_data(num_examples=3):
        found = list(registration.tfds_examples(BENCHMARKS[name], part))
    assert found
    assert all(one.inputs for one in found)


@pytest.mark.parametrize("name", ["xnli:1.1.0", "xtreme_xnli:1.1.0"])
def test_rows_of_xnli(name):
    with tfds.testing.mock_data(num_examples=1):
        (row,) = tfds.as_numpy(tfds.load(name, split="train" if "xtreme" in name else "test"))
    form = BENCHMARKS["xnli"].tfds
    with pytest.raises(DataError, match="TFDS row 0: no language 'sw'"):
        form.record(row, "0", "sw")  # the invented languages
    row["hypothesis"] = {
        "language": np.array([b"fr", b"sw"], object),
        "translation": np.array([b"x", b"y"], object),
    }
    found = form.record(row, "0", "sw")
    assert (found.first.encode(), found.second) == (row["premise"]["sw"], "y")


def test_words_of_tfds_are_those_of_the_conllu_file():
    """`du` is a range and `reported` an empty node: lines of the file, and no words."""
    form = BENCHMARKS["ud_pos"].tfds
    features = tfds.builder(form.name.format(language="en_ewt")).info.features
    names = features["upos"].feature.names
    lines = [("du", "_", "None"), ("de", "ADP", "3"), ("le", "DET", "3"), ("chat", "NOUN", "0")]
    lines += [("reported", "VERB", "None")]
    row = {
        "idx": b"s1",
        "tokens": np.array([line[0].encode() for line in lines], object),
        "upos": np.array([names.index(line[1]) for line in lines]),
        "head": np.array([line[2].encode() for line in lines], object),
    }
    assert row.keys() <= features.keys()
    found = form.record(row, "0", "en_ewt")
    assert (found.id, found.tokens, found.tags) == (
        "s1",
        ("de", "le", "chat"),
        ("ADP", "DET", "NOUN"),
    )


def test_wikilingua_of_tfds_is_split_as_the_files_are():
    """GEM's splits are joined and drawn again, all versions of a summary into one split."""

    def rows(builder, split, **unused):
        assert split == "train+validation+test"
        language = builder.builder_config.name.split("_")[-1]
        numbers = range(40) if language == "en" else range(0, 80, 2)

        def sides(kind):
            return {side: [f"{kind} {side} {i}" for i in numbers] for side in {language, "en"}}

        return tf.data.Dataset.from_tensor_slices(
            {
                "gem_id": [f"{language}-{i}" for i in numbers],
                "source_aligned": sides("long"),
                "target_aligned": sides("short"),
            }
        )

    row = BENCHMARKS["wikilingua"]
    choose = functools.partial(row.tfds.choose, held_out=5)
    few = dataclasses.replace(row, tfds=dataclasses.replace(row.tfds, choose=choose))
    with tfds.testing.mock_data(as_dataset_fn=rows):
        found = {
            (language, split): {
                one.targets
                for one in registration.tfds_examples(
                    few, Part(benchmark="wikilingua", language=language, split=split)
                )
            }
            for language in ("en", "tr")
            for split in ("train", "validation", "test")
        }
    for language in ("en", "tr"):
        assert [len(found[language, split]) for split in ("validation", "test")] == [5, 5]
    for split, other in itertools.permutations(("train", "validation", "test"), 2):
        assert not found["en", split] & found["tr", other]
    assert found["en", "test"] & found["tr", "test"]
    assert all(target.startswith("short en ") for target in found["tr", "train"])


def test_tatoeba_of_tfds_has_the_codes_of_the_files():
    codes = {config.language for config in tfds.builder_cls("tatoeba").BUILDER_CONFIGS}
    assert codes == set(tfds_tatoeba.TFDS_CODES.values())

    def rows(builder, split, **unused):
        assert (builder.builder_config.name, split) == ("tatoeba_fa", "train")
        sides = {"source_sentence": ["یک\n", "\n", "دو"], "target_sentence": ["1\r\n", "x\n", "2"]}
        assert sides.keys() <= builder.info.features.keys()
        return tf.data.Dataset.from_tensor_slices(sides)

    with tfds.testing.mock_data(as_dataset_fn=rows):
        found = tfds_tatoeba.load_tatoeba("pes")
    assert (found.sources, found.targets) == (("یک", "دو"), ("1", "2"))
    assert found.pairs == ((0, 0), (1, 1))
    with pytest.raises(DataError, match="tatoeba: TFDS: unknown language 'fas'; nearest"):
        tfds_tatoeba.load_tatoeba("fas")


def test_tydi_qa_keeps_one_language_of_the_training_split():
    row = {
        "id": b"finnish-12-0",
        "question": b"q",
        "context": b"c",
        "answers": {"text": np.array([b"c"], object)},
    }
    form = BENCHMARKS["tydiqa_goldp"].tfds
    assert form.record(row, "0", "en") is None
    assert form.record(row, "0", "fi").answers == ("c",)
    row["answers"] = {"text": np.array([], object)}
    with pytest.raises(DataError, match="question 'finnish-12-0': no answer"):
        form.record(row, "0", "fi")


def test_tfds_without_the_language():
    part = Part(benchmark="mlqa", language="en-de", split="test")
    with pytest.raises(DataError, match="TFDS has no language 'en-de' in split 'test'"):
        list(registration.tfds_examples(BENCHMARKS["mlqa"], part))
