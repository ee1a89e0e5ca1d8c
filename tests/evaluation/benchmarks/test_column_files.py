import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.column_files import read_columns


def test_tsv(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("x\tid\ty\na\t1\tb\nc\t2\t\n")
    found = list(read_columns(path, inputs="x", targets="y"))
    assert [(one.inputs, one.references) for one in found] == [("a", ("b",)), ("c", ("",))]
    with pytest.raises(DataError, match=r"a\.tsv: line 1: no column \['inputs', 'targets'\]"):
        list(read_columns(path))


def test_json_lines_with_several_right_texts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"inputs": "a", "targets": ["b", "c"]}\n{"inputs": "d", "targets": "e"}\n')
    found = list(read_columns(path))
    assert [(one.targets, one.references) for one in found] == [("b", ("b", "c")), ("e", ("e",))]
    for targets in ("[]", "[1]", "null"):
        path.write_text(f'{{"inputs": "a", "targets": {targets}}}\n')
        with pytest.raises(DataError, match=r"a\.jsonl: line 1: targets is "):
            list(read_columns(path))


def test_an_empty_file(tmp_path):
    (tmp_path / "a.tsv").write_text("inputs\ttargets\n")
    with pytest.raises(DataError, match="no examples"):
        list(read_columns(tmp_path / "a.tsv"))
