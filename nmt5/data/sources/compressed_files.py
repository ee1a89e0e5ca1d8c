"""Files of text, compressed or not, read as bytes or as lines; every fault names file and line."""

import bz2
from collections import Counter
from collections.abc import Iterator, Sequence
import contextlib
import gzip
import io
import itertools
import lzma
from typing import IO, Any
import zipfile
import zlib

from etils import epath

from nmt5.core.errors import ConfigError, DataError
from nmt5.core.files import storage_faults
from nmt5.data.sources.remote_paths import remote_faults

# How a faulty line is met: `ERROR` ends the reading, `DROP` counts it and goes on.
ERROR, DROP = "error", "drop"
MEMBER = "::"
_BLOCK_BYTES = 1 << 20


class _ZstdFile(io.RawIOBase):
    """Decompressed bytes of a Zstandard file, which must end where a frame does.

    zstandard's own reader takes a file that was cut off for one that ended.
    """

    def __init__(self, file: IO[bytes]):
        import zstandard

        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._file, self._frame, self._ready = file, None, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._ready:
            piece = self._frame.unused_data if self._frame and self._frame.eof else b""
            piece = piece or self._file.read(_BLOCK_BYTES)
            if not piece:
                if self._frame and not self._frame.eof:
                    raise EOFError("it ends within a frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._new_frame()
            self._ready = self._frame.decompress(piece)
        taken = self._ready[: len(buffer)]
        buffer[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)


@contextlib.contextmanager
def open_file(path: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading bytes, decompressed as its name says.

    Names ending in .gz, .xz, .bz2, .zst and .zip are decompressed. Of a zip with several files one
    is named behind "::", as in `pairs.zip::pairs.fr`.

    Raises:
      StorageError: the file is missing or cannot be read.
      DataError: the archive is damaged or cut off (also while the body reads), or the member of a
        zip is not named or not in it.
    """
    archive, _, member = path.partition(MEMBER)
    suffix = archive.rsplit(".", 1)[-1].lower()
    faults = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
    faults += _zstd_faults(suffix)
    with contextlib.ExitStack() as stack:
        # Read faults of the system keep their errno; those of archives have none.
        stack.enter_context(storage_faults("reading", archive))
        with remote_faults(archive):
            file: Any = stack.enter_context(epath.Path(archive).open("rb"))
        try:
            if suffix == "gz":
                file = stack.enter_context(gzip.open(file))
            elif suffix == "xz":
                file = stack.enter_context(lzma.open(file))
            elif suffix == "bz2":
                file = stack.enter_context(bz2.open(file))
            elif suffix in ("zst", "zstd"):
                file = stack.enter_context(io.BufferedReader(_ZstdFile(file), _BLOCK_BYTES))
            elif suffix == "zip":
                file = stack.enter_context(_zip_member(stack, file, archive, member))
            yield file
        except faults as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise DataError(
                f"{path}: the archive is damaged or cut off ({error}); fetch the file again"
            ) from error


def _zstd_faults(suffix: str) -> tuple[type[Exception], ...]:
    if suffix not in ("zst", "zstd"):
        return ()
    import zstandard

    return (zstandard.ZstdError,)


def _zip_member(
    stack: contextlib.ExitStack, file: IO[bytes], archive: str, member: str
) -> IO[bytes]:
    files = stack.enter_context(zipfile.ZipFile(file))
    names = [info.filename for info in files.infolist() if not info.is_dir()]
    if not member and len(names) == 1:
        member = names[0]
    if member not in names:
        found = f"no '{member}'" if member else f"{len(names)} files"
        raise DataError(
            f"{archive}: {found} in this archive; name one as '{archive}{MEMBER}FILE', where FILE "
            f"is one of {', '.join(names[:8])}"
        )
    return files.open(member)


def read_lines(path: str, *, on_bad_line: str, dropped: Counter[str]) -> Iterator[str | None]:
    """Yields the lines of a UTF-8 file one by one, as `read_line_blocks`."""
    blocks = read_line_blocks(path, on_bad_line=on_bad_line, dropped=dropped)
    return itertools.chain.from_iterable(blocks)


def read_line_blocks(
    path: str, *, on_bad_line: str, dropped: Counter[str]
) -> Iterator[Sequence[str | None]]:
    r"""Yields the lines of a UTF-8 file without their ends, split at \n only, many at a time.

    A carriage return before \n goes with it, a byte order mark at the start of the file too.
    (Python's `splitlines` also splits at U+2028 and U+0085 and so shifts parallel files.)

    Args:
      path: as `open_file` takes it.
      on_bad_line: `ERROR`, or `DROP` to yield None for a line that is not UTF-8 or has a NUL byte,
        so that parallel files stay in step.
      dropped: counts such lines.

    Raises:
      StorageError: the file is missing or cannot be read.
      DataError: a damaged archive, or a bad line; names file and line.
    """
    number, rest = 0, b""
    with open_file(path) as file:
        while block := file.read(_BLOCK_BYTES):
            if number == 0 and not rest:
                block = block.removeprefix(b"\xef\xbb\xbf")
            head, newline, tail = (rest + block).rpartition(b"\n")
            rest = tail
            if not newline:
                continue
            lines = _decode(head, path, number, on_bad_line, dropped)
            number += len(lines)
            yield lines
    if rest:
        yield _decode(rest, path, number, on_bad_line, dropped)


def _decode(
    content: bytes, path: str, number: int, on_bad_line: str, dropped: Counter[str]
) -> Sequence[str | None]:
    """Returns the lines of a block that follows line `number`, decoding all at once if it can."""
    try:
        if b"\0" not in content:
            lines = content.decode().split("\n")
            return [line.removesuffix("\r") for line in lines] if b"\r" in content else lines
    except UnicodeDecodeError:
        pass  # the lines are tried one by one
    kept: list[str | None] = []
    for line in content.split(b"\n"):
        number += 1
        text, reason = "", None
        try:
            text = line.decode().removesuffix("\r")
            if "\0" in text:
                reason = "NUL byte"
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 (byte 0x{line[error.start]:02x} at {error.start + 1})"
        if reason is None:
            kept.append(text)
            continue
        if on_bad_line == ERROR:
            raise DataError(
                f"{path}: line {number}: {reason}; mend the file, convert it with `iconv -t UTF-8`,"
                " or set on_bad_line='drop'"
            )
        dropped[reason.partition(" (")[0]] += 1
        kept.append(None)
    return kept


def check_on_bad_line(value: str, *, where: str) -> None:
    """Raises `ConfigError` if `value` is neither `ERROR` nor `DROP`."""
    if value not in (ERROR, DROP):
        raise ConfigError(f"{where}: on_bad_line is {value!r}, expected '{ERROR}' or '{DROP}'")
