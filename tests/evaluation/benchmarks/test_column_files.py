"""Columns of inputs and targets: what a file may hold, and the labels in it."""

from collections import Counter

import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.column_files import labels_of, read_columns


def read(path, **settings):
    return list(read_columns(path, dropped=Counter(), **settings))


def test_tsv(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("x\tid\ty\na\t1\tb\nc\t2\t\n")
    found = read(path, columns=("x", "y"))
    assert [(one.inputs, one.references) for one in found] == [("a", ("b",)), ("c", ("",))]
    with pytest.raises(DataError, match=r"a\.tsv: line 1: no column \['inputs', 'targets'\]"):
        read(path)
    with pytest.raises(DataError, match="a target is empty"):
        labels_of(path, columns=("x", "y"))


def test_json_lines_with_several_right_texts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"inputs": "a", "targets": ["c", "b"]}\n{"inputs": "d", "targets": "e"}\n')
    found = read(path)
    assert [(one.targets, one.references) for one in found] == [("c", ("c", "b")), ("e", ("e",))]
    assert labels_of(path, columns=("inputs", "targets")) == ("b", "c", "e")
    with pytest.raises(DataError, match=r"a\.jsonl: line 1: unknown label 'b'"):
        read(path, labels=("c", "e"))
    for targets in ("[]", "[1]", "null"):
        path.write_text(f'{{"inputs": "a", "targets": {targets}}}\n')
        with pytest.raises(DataError, match=r"a\.jsonl: line 1: targets is "):
            read(path)
