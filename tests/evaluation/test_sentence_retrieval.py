"""Tatoeba and BUCC by the encoder of a checkpoint."""

import json

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation import sentence_retrieval
from nmt5.evaluation.benchmarks.bitext_files import RetrievalSet
from nmt5.evaluation.inference_files import read_metrics
from nmt5.evaluation.sentence_retrieval import compare_sentences, evaluate_sentences
from nmt5.evaluation.task_config import TaskConfig
from nmt5.evaluation.task_runner import TaskEvaluation
from nmt5.evaluation.task_scores import score_table

TEXTS = ("open the file", "close it", "save", "print the page", "save")


@pytest.fixture
def task(tmp_path):
    """Tatoeba of a language that is English, and of one whose lines are all alike."""
    directory = tmp_path / "data" / "tatoeba"
    directory.mkdir(parents=True)
    for language, texts in (("eng2", TEXTS), ("xxx", ("a",) * len(TEXTS))):
        for code, some in ((language, texts), ("eng", TEXTS)):
            path = directory / f"tatoeba.{language}-eng.{code}"
            path.write_text("".join(f"{text}\n" for text in some))
    return TaskConfig(name="tatoeba", data=str(tmp_path / "data"))


def evaluate(run_directory, task, vocabulary, output, *, layer=None, **wanted):
    said = []
    found = evaluate_sentences(
        run_directory,
        name=task.name,
        task=task,
        wanted=TaskEvaluation(num_draws=20, **wanted),
        vocabulary=vocabulary,
        output_dir=output,
        layer=layer,
        say=said.append,
    )
    return found, said


def test_tatoeba(run_directory, vocabulary, task, tmp_path):
    found, _ = evaluate(run_directory, task, vocabulary, tmp_path / "a")
    same, alike = (found["languages"][code]["scores"] for code in ("eng2", "xxx"))
    # "save" comes twice, and either one is right.
    assert same["accuracy"]["value"] == 100 and same["chance"]["value"] == pytest.approx(28)
    assert alike["accuracy"]["value"] in (20, 40)  # one target is nearest to all
    assert "layer:last|mean over tokens" in same["accuracy"]["signature"]
    assert read_metrics(tmp_path / "a", task="tatoeba.eng2") == [
        {"step": 7, "accuracy": 100.0, "chance": pytest.approx(28)}
    ]
    lines = (tmp_path / "a" / "inference_eval" / "tatoeba.eng2-000007.jsonl").read_text()
    assert [json.loads(line)["prediction"] for line in lines.splitlines()] == list(TEXTS)
    again, said = evaluate(run_directory, task, vocabulary, tmp_path / "a")
    assert again == found and "already" in said[0]
    assert "eng2" in score_table(found)
    evaluate(run_directory, task, vocabulary, tmp_path / "b", layer=1)
    differences = compare_sentences(
        tmp_path / "a",
        second=tmp_path / "b",
        name="tatoeba",
        task=task,
        wanted=TaskEvaluation(num_draws=20),
    )
    assert differences["eng2"]["value"] == 0 and differences["eng2"]["p_value"] == 1


def test_tatoeba_without_files_comes_from_tfds(run_directory, vocabulary, tmp_path, monkeypatch):
    pairs = RetrievalSet(sources=TEXTS, targets=TEXTS, pairs=tuple((i, i) for i in range(5)))
    asked = []

    def load(language, *, data_dir):
        asked.append((language, data_dir))
        return pairs

    monkeypatch.setattr(sentence_retrieval, "load_tatoeba", load)
    task = TaskConfig(name="tatoeba", tfds_data_dir="here")
    found, _ = evaluate(run_directory, task, vocabulary, tmp_path / "a", languages=("deu",))
    assert found["languages"]["deu"]["scores"]["accuracy"]["value"] == 100
    assert asked == [("deu", "here")]


def test_long_sentences_are_cut_and_counted(run_directory, vocabulary, tmp_path, task):
    short = TaskConfig(name="tatoeba", data=task.data, inputs_tokens=2)
    found, _ = evaluate(run_directory, short, vocabulary, tmp_path / "a", languages=("xxx",))
    assert found["languages"]["xxx"]["cut_inputs"] > 0


def write_bucc(directory, split, *, gold):
    for code in ("de", "en"):
        lines = [f"{code}-{i}\t{text}\n" for i, text in enumerate(TEXTS[:4])]
        (directory / f"de-en.{split}.{code}").write_text("".join(lines))
    if gold:
        pairs = "".join(f"de-{i}\ten-{i}\n" for i in range(4))
        (directory / f"de-en.{split}.gold").write_text(pairs)


def test_bucc_takes_its_threshold_from_the_training_split(run_directory, vocabulary, tmp_path):
    directory = tmp_path / "bucc"
    directory.mkdir()
    write_bucc(directory, "training", gold=True)
    task = TaskConfig(name="bucc", directories={"bucc": str(directory)})
    for gold, split in ((False, "split:training, which chose"), (True, "split:test|threshold:")):
        write_bucc(directory, "test", gold=gold)
        found, _ = evaluate(run_directory, task, vocabulary, tmp_path / split[:10])
        scores = found["languages"]["de"]["scores"]
        assert list(scores) == ["f1", "precision", "recall", "threshold"]
        assert scores["f1"]["value"] == 100 and split in scores["f1"]["signature"]
        assert scores["f1"]["low"] == scores["recall"]["high"] == 100
        assert "bootstrap:20 of source sentences" in scores["f1"]["signature"]
    with pytest.raises(ConfigError, match="part its pairs"):
        evaluate(run_directory, task, vocabulary, tmp_path / "c", max_examples=2)
    with pytest.raises(ConfigError, match="cannot be compared"):
        compare_sentences("a", second="b", name="bucc", task=task, wanted=TaskEvaluation())


def test_what_is_not_there(run_directory, vocabulary, task, tmp_path):
    for settings, wanted, error, message in (
        ({"data": task.data}, {"languages": ("engg",)}, ConfigError, "nearest: 'eng2'"),
        ({}, {"languages": ("gsw",)}, ConfigError, "unknown language 'gsw'"),
        ({"directories": {"tatoeba": str(tmp_path)}}, {}, DataError, "no file like"),
    ):
        with pytest.raises(error, match=message):
            one = TaskConfig(name="tatoeba", **settings)
            evaluate(run_directory, one, vocabulary, tmp_path / "a", **wanted)
    with pytest.raises(ConfigError, match=r"bucc: TFDS has its pairs only.*set TaskConfig.data"):
        evaluate(run_directory, TaskConfig(name="bucc"), vocabulary, tmp_path / "a")
    with pytest.raises(ConfigError, match="layer 9, expected 1 to 2"):
        evaluate(run_directory, task, vocabulary, tmp_path / "a", layer=9)
