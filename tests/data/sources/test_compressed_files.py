import bz2
from collections import Counter
import gzip
import lzma
import zipfile

from hypothesis import given
from hypothesis import strategies as st
import pytest
import zstandard

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.data.sources import compressed_files
from nmt5.data.sources.compressed_files import check_on_bad_line, open_file, read_lines

PACK = {
    "txt": lambda content: content,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": lambda content: zstandard.ZstdCompressor().compress(content),
}


def lines_of(path, *, on_bad_line="error", dropped=None):
    return list(read_lines(str(path), on_bad_line=on_bad_line, dropped=dropped or Counter()))


def write(path, content, suffix="txt"):
    path = path / f"file.{suffix}"
    path.write_bytes(PACK[suffix](content))
    return path


@pytest.mark.parametrize("suffix", PACK)
def test_every_compression(tmp_path, suffix):
    content = "".join(f"línea {i}\n" for i in range(120_000)).encode()  # several blocks
    assert lines_of(write(tmp_path, content, suffix)) == content.decode().split("\n")[:-1]


# A byte changed within a zstd frame may go unseen: such frames have no checksum by default.
@pytest.mark.parametrize(
    "suffix, damage",
    [(s, d) for s in ("gz", "xz", "bz2", "zst") for d in ("cut", "other", "flip")][:-1],
)
def test_damaged_archives(tmp_path, suffix, damage):
    content = b"".join(b"%d\n" % (i * i) for i in range(60_000))
    path = write(tmp_path, content, suffix)
    packed = path.read_bytes()
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0x55
    path.write_bytes({"cut": packed[:-9], "other": b"plain text\n" * 9, "flip": flipped}[damage])
    with pytest.raises(DataError, match=rf"file\.{suffix}: the archive is damaged or cut off"):
        lines_of(path)


def test_zstd_of_several_frames(tmp_path):
    path = tmp_path / "file.zst"
    path.write_bytes(PACK["zst"](b"a\nb") + PACK["zst"](b"c\nd\n"))
    assert lines_of(path) == ["a", "bc", "d"]


def test_zip_members(tmp_path):
    path = tmp_path / "pairs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.en", "one\n")
    assert lines_of(path) == ["one"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.fr", "un\n")
    assert lines_of(f"{path}::x.fr") == ["un"]
    with pytest.raises(DataError, match=r"2 files in this archive.*FILE is one of x\.en, x\.fr"):
        lines_of(path)
    with pytest.raises(DataError, match="no 'x.de' in this archive"):
        lines_of(f"{path}::x.de")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="damaged"):
        lines_of(f"{path}::x.fr")


def test_lines_end_at_newlines_only(tmp_path):
    text = "a\u2028b\x85c\x0bd\x0ce\rf\r\ng\n\nh"
    expected = ["a\u2028b\x85c\x0bd\x0ce\rf", "g", "", "h"]
    assert lines_of(write(tmp_path, text.encode())) == expected


def test_byte_order_mark_only_at_the_start(tmp_path):
    assert lines_of(write(tmp_path, "\ufeffa\n\ufeffb\n".encode())) == ["a", "\ufeffb"]


@given(st.binary(max_size=60), st.integers(1, 9))
def test_blocks_make_no_difference(tmp_path_factory, content, block_bytes):
    path = write(tmp_path_factory.mktemp("lines"), content)
    whole_dropped, dropped = Counter(), Counter()
    whole = lines_of(path, on_bad_line="drop", dropped=whole_dropped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressed_files, "_BLOCK_BYTES", block_bytes)
        if not content.startswith(b"\xef"):  # a mark cut by so small a block stays
            assert lines_of(path, on_bad_line="drop", dropped=dropped) == whole
            assert dropped == whole_dropped
    number = content.count(b"\n") + (not content.endswith(b"\n"))
    assert len(whole) == (number if content.removeprefix(b"\xef\xbb\xbf") else 0)


def test_bad_lines_are_named_or_counted(tmp_path):
    path = write(tmp_path, b"good\nna\xefve\nze\0ro\nlast\n")
    with pytest.raises(DataError, match=r"file\.txt: line 2: not UTF-8 \(byte 0xef at 3\)"):
        lines_of(path)
    dropped = Counter(other=1)
    assert lines_of(path, on_bad_line="drop", dropped=dropped) == ["good", None, None, "last"]
    assert dropped == {"other": 1, "not UTF-8": 1, "NUL byte": 1}
    path.write_bytes(b"a\nb\nc\0\n")
    with pytest.raises(DataError, match="line 3: NUL byte"):
        lines_of(path)


def test_lines_are_counted_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed_files, "_BLOCK_BYTES", 5)
    with pytest.raises(DataError, match="line 9: NUL byte"):
        lines_of(write(tmp_path, b"ab\n" * 8 + b"c\0\n"))


def test_missing_file_and_wrong_setting(tmp_path):
    with (
        pytest.raises(StorageError, match=r"none\.txt: it does not exist"),
        open_file(f"{tmp_path}/none.txt"),
    ):
        pass
    with pytest.raises(ConfigError, match="on_bad_line is 'skip', expected 'error' or 'drop'"):
        check_on_bad_line("skip", where="TsvSource")
