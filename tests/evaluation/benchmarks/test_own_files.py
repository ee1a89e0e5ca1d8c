"""Anybody's TSV and JSON lines as a benchmark, and what is wrong with them by file and line."""

import gzip

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.benchmark import read_examples
from nmt5.evaluation.benchmarks.own_files import named_metrics, own_benchmark
from nmt5.evaluation.benchmarks.regimes import plan, settings_of
from nmt5.evaluation.benchmarks.scoring import score_predictions

CONLLU = "1\tOi\t_\tINTJ" + 6 * "\t_" + "\n"


def examples(path, **settings):
    row = own_benchmark("own", files={"test": path}, **settings)
    return list(read_examples(row, "", language="en", split="test"))


def test_tsv_and_json_lines(tmp_path):
    (tmp_path / "a.tsv").write_text('q\tx\ta\nwhy?\t0\t"so"\nhow?\t1\tthus\n')
    found = examples(tmp_path / "a.tsv", columns=("q", "a"))
    assert [(one.inputs, one.targets) for one in found] == [("why?", '"so"'), ("how?", "thus")]
    line = '{"inputs": "a\\nb", "targets": ["x", "y"]}\n{"inputs": "c", "targets": ""}\n'
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    first, second = examples(tmp_path / "b.jsonl.gz")
    assert (first.inputs, first.references, second.references) == ("a\nb", ("x", "y"), ("",))


def test_a_task_with_its_own_splits_trains_and_tests_on_them(tmp_path):
    (tmp_path / "a.tsv").write_text("inputs\ttargets\na\tb\n")
    files = dict.fromkeys(("train", "validation", "test"), tmp_path / "a.tsv")
    row = own_benchmark("own", files=files, language="de", metrics=("rouge_l", "chrf"))
    assert settings_of(row) == ("in_language",) and row.main_score == "rouge_l"
    found = plan(row, "in_language", language="de")
    assert [part.split for part in (*found.train, *found.selection, *found.test)] == [
        *("train", "validation", "test")
    ]
    assert not found.selected_on_test
    del files["test"]
    assert plan(own_benchmark("own", files=files), "in_language", language="en").selected_on_test


def test_labels_are_those_of_the_training_file(tmp_path):
    """Full-width and composed forms are what a vocabulary makes of them, on both sides."""
    (tmp_path / "a.tsv").write_text("inputs\ttargets\nx\tbad\ny\tＧｏｏｄ \nz\tbad\n")
    line = '{"inputs": "v", "targets": "Good"}\n{"inputs": "w", "targets": "bad"}\n'
    (tmp_path / "b.jsonl").write_text(line)
    files = {"train": tmp_path / "a.tsv", "test": tmp_path / "b.jsonl"}
    row = own_benchmark("own", files=files, metrics=("class_accuracy", "exact_match"))
    found = list(read_examples(row, "", language="en", split="test"))
    scores = score_predictions(
        row, [" Good", "worse"], examples=found, language="en", split="test", num_draws=0
    )
    values = {name: one.interval.value for name, one in scores.items()}
    assert (row.main_score, values["accuracy"], values["unparseable"]) == ("accuracy", 50, 50)
    assert "classes:Good,bad|" in scores["accuracy"].signature
    (tmp_path / "b.jsonl").write_text(line + '{"inputs": "w", "targets": "so-so"}\n')
    with pytest.raises(DataError, match=r"b\.jsonl: line 3: unknown label 'so-so'.*or name it in"):
        list(read_examples(row, "", language="en", split="test"))
    labels = ("Good", "bad", "so-so")
    row = own_benchmark("own", files={"test": tmp_path / "b.jsonl"}, labels=labels)
    assert len(list(read_examples(row, "", language="en", split="test"))) == 3
    assert row.main_score == "accuracy"
    (tmp_path / "a.tsv").write_text("inputs\ttargets\nx\t \n")
    with pytest.raises(DataError, match=r"a\.tsv: a target is empty, which is no label"):
        own_benchmark("own", files=files, metrics=("class_accuracy",))


@pytest.mark.parametrize(
    ("format", "name", "content", "inputs", "targets", "main"),
    [
        (
            *("inference", "pairs.CSV-less.tsv", "sentence1\tsentence2\tlabel\na\tb\tneutral\n"),
            *("xnli: premise: a hypothesis: b", "1", "accuracy"),
        ),
        (
            *("inference", "nli {fa}.csv", 'premise\thypothesis\tlabel\n"a\tb"\tc\te\n'),
            *("xnli: premise: a\tb hypothesis: c", "0", "accuracy"),
        ),
        (
            *("entities", "tweets.bio", "http://x.org\tO\nRio\tB-GPE\n"),
            *("tag: http://x.org Rio", "GPE: Rio", "span_f1"),
        ),
        ("conllu", "mine.txt", CONLLU, "pos: Oi", "INTJ", "token_accuracy"),
        ("word_tags", "mine.txt.gz", "Oi\tINTJ\n", "pos: Oi", "INTJ", "token_accuracy"),
        (
            "paraphrase",
            "p",
            "a\tb\t1\n",
            "paws sentence1: a sentence2: b",
            "paraphrase",
            "accuracy",
        ),
    ],
)
def test_formats_of_benchmarks_under_any_name(
    tmp_path, format, name, content, inputs, targets, main
):
    path = tmp_path / name
    packed = gzip.compress if name.endswith(".gz") else lambda text: text
    path.write_bytes(packed(content.encode()))
    row = own_benchmark("own", files={"test": path}, format=format)
    (one,) = read_examples(row, "", language="en", split="test")
    assert (one.inputs, one.targets, row.main_score) == (inputs, targets, main)
    scores = score_predictions(
        row, [targets], examples=[one], language="en", split="test", num_draws=0
    )
    assert next(iter(scores.values())).interval.value == 100


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "inputs\ttarget\nx\ty\n", r"a\.tsv: line 1: no column \['targets'\]"),
        (
            "a.tsv",
            "inputs\ttargets\nx\ty\nz\n",
            r"a\.tsv: line 3: 1 tab-separated cells, expected 2",
        ),
        ("a.tsv", "", r"a\.tsv: line 1: empty file"),
        ("a.tsv", "inputs\ttargets\n", "split 'test': no examples in"),
        ("a.jsonl", '{"inputs": "x", "targets": "y"}\n{"inputs": "x", "tar', "line 2: not JSON"),
        ("a.jsonl", '{"inputs": "x"}\n', r"line 1: no key \['targets'\]"),
        ("a.jsonl", '{"inputs": "x", "targets": 3}\n', "line 1: targets is 3, expected text"),
        ("a.jsonl", '{"inputs": "x", "targets": []}\n', "line 1: targets is .*, expected text"),
        ("a.jsonl", '{"inputs": null, "targets": "a"}\n', "inputs is NoneType, expected text"),
    ],
)
def test_faults_name_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        examples(tmp_path / name)


def test_settings_that_are_wrong(tmp_path):
    with pytest.raises(ConfigError, match="unknown split 'tset'; nearest: 'test'"):
        own_benchmark("own", files={"tset": "a.tsv"})
    with pytest.raises(ConfigError, match="ends in .tsv or .jsonl.*need TaskConfig.format"):
        own_benchmark("own", files={"test": "a.csv"})
    with pytest.raises(ConfigError, match="unknown format 'conll'; nearest: 'conllu'"):
        own_benchmark("own", files={"test": "a.tsv"}, format="conll")
    with pytest.raises(ConfigError, match="'class_accuracy' needs the labels; set TaskConfig"):
        own_benchmark("own", files={"test": "a.tsv"}, metrics=("class_accuracy",))
    with pytest.raises(ConfigError, match="no file"):
        own_benchmark("own", files={})
    with pytest.raises(ConfigError, match="unknown metric 'blue'; nearest: 'bleu'"):
        named_metrics(("blue",))
    with pytest.raises(ConfigError, match="the first one is the main score"):
        named_metrics(("bleu", "rouge_l"))
    with pytest.raises(ConfigError, match="no metric"):
        named_metrics(())
