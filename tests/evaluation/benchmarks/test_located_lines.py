import gzip
import json

import pytest

from nmt5.core.errors import DataError, StorageError
from nmt5.evaluation.benchmarks import located_lines


def test_lines_end_at_newline_only_and_know_their_place(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("\ufeffone\u2028still one\r\ntwo\x85too\n\nfour".encode())
    lines = list(located_lines.read_lines(path))
    assert [line.text for line in lines] == ["one\u2028still one", "two\x85too", "", "four"]
    assert str(lines[3].place) == f"{path}: line 4"


def test_gzip_is_recognised_without_its_suffix(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress("ä\nö\n".encode()))
    assert [line.text for line in located_lines.read_lines(path)] == ["ä", "ö"]


def test_gzip_that_is_cut_off_is_an_error_with_the_line(tmp_path):
    path = tmp_path / "a.gz"
    whole = gzip.compress("\n".join(str(i * i) for i in range(20_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.gz: after line \d+: the gzip data is cut off"):
        list(located_lines.read_lines(path))


def test_wrong_encoding_names_the_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("gut\nschön\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.txt: line 2: not UTF-8"):
        list(located_lines.read_lines(path))


def test_missing_file_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        list(located_lines.read_lines(tmp_path / "nowhere"))


def test_rows_of_another_width_are_errors(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('a\t"b\nc\n')
    with pytest.raises(DataError, match="line 2: 1 tab-separated cells, expected 2"):
        list(located_lines.read_rows(path, columns=2))
    assert next(located_lines.read_rows(path, columns=2))[0] == ["a", '"b']


def test_tables_by_column_name_with_and_without_quotation_marks(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('x\ty\n"1\t""2"""\t3\n')
    rows = [row for row, _ in located_lines.read_table(path, required=["x"], quoted=True)]
    assert rows == [{"x": '1\t"2"', "y": "3"}]
    with pytest.raises(DataError, match="line 2: 3 tab-separated cells, expected 2"):
        list(located_lines.read_table(path, required=["x"]))
    with pytest.raises(DataError, match=r"line 1: no column \['z'\]"):
        list(located_lines.read_table(path, required=["z"]))
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="empty file"):
        list(located_lines.read_table(tmp_path / "empty", required=[]))


def test_json_that_is_cut_off(tmp_path):
    whole = json.dumps({"data": [1, 2, 3]}, indent=1)
    (tmp_path / "a.json").write_text(whole[:-4])
    with pytest.raises(DataError, match=r"a\.json: line \d, column \d: the JSON ends too early"):
        located_lines.read_json_file(tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"a": "bc')
    with pytest.raises(DataError, match="the JSON ends too early"):
        located_lines.read_json_file(tmp_path / "b.json")
    whole = '{"a": [true, -1.5, "b\\u00e9"], "c": null}'
    for end in range(1, len(whole)):
        (tmp_path / "c.json").write_text(whole[:end])
        with pytest.raises(DataError, match="the JSON ends too early"):
            located_lines.read_json_file(tmp_path / "c.json")
    (tmp_path / "d.json").write_text('{"a": }')
    with pytest.raises(DataError, match="not JSON"):
        located_lines.read_json_file(tmp_path / "d.json")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2')
    with pytest.raises(DataError, match=r"a\.jsonl: line 3: not JSON"):
        list(located_lines.read_json_lines(tmp_path / "a.jsonl", required=["a"]))
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"b": 2}\n[]')
    with pytest.raises(DataError, match=r"line 2: no key \['a'\], found \['b'\]"):
        list(located_lines.read_json_lines(tmp_path / "b.jsonl", required=["a"]))
