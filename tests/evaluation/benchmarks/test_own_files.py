"""Anybody's TSV and JSON lines as a benchmark, and what is wrong with them by file and line."""

import gzip

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.benchmark import read_examples
from nmt5.evaluation.benchmarks.own_files import named_metrics, own_benchmark
from nmt5.evaluation.benchmarks.regimes import plan, settings_of


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
    with pytest.raises(ConfigError, match="ends in .tsv or .jsonl"):
        own_benchmark("own", files={"test": "a.csv"})
    with pytest.raises(ConfigError, match="no file"):
        own_benchmark("own", files={})
    with pytest.raises(ConfigError, match="unknown metric 'blue'; nearest: 'bleu'"):
        named_metrics(("blue",))
    with pytest.raises(ConfigError, match="the first one is the main score"):
        named_metrics(("bleu", "rouge_l"))
    with pytest.raises(ConfigError, match="no metric"):
        named_metrics(())
