"""Compiled message catalogs (`.mo` files) of installed Python packages.

Parsed here rather than by `gettext.GNUTranslations`, which throws the English plural away.

Source: the MO format, https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html
"""

from collections.abc import Callable, Iterator
import dataclasses
from email.parser import HeaderParser
import gettext
import importlib.util
import os
import pathlib
import struct

from nmt5.core.errors import DataError
from nmt5.core.files import storage_faults

_LITTLE_ENDIAN, _BIG_ENDIAN = 0x950412DE, 0xDE120495
_CONTEXT_END = "\x04"
_PLURAL_SEPARATOR = "\x00"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One translated message.

    Attributes:
      english: the message without its context.
      english_plural: the English plural, None for a message without one.
      translations: one text, or one per plural form; a text may be empty.
    """

    english: str
    english_plural: str | None
    translations: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
    """The messages of one file.

    Attributes:
      path: the file.
      plural_form: number -> index of the plural form that goes with it.
      entries: the messages, without the catalog's header.
    """

    path: str
    plural_form: Callable[[int], int]
    entries: tuple[CatalogEntry, ...]


def find_catalogs(package: str) -> list[tuple[str, pathlib.Path]]:
    """Returns (locale, file) of every catalog of an installed package, without importing it.

    Raises:
      DataError: the package is not installed, or has no catalog.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    roots = list(spec.submodule_search_locations or ()) if spec else []
    if not roots:
        raise DataError(
            f"gettext: package '{package}' is not installed; install the extra `demo` "
            "(pip install 'nmt5[demo]') or name an installed package"
        )
    found = [
        (path.parent.parent.name, path)
        for root in roots
        for path in sorted(pathlib.Path(root).rglob("*.mo"))
        if path.parent.name == "LC_MESSAGES"
    ]
    if not found:
        raise DataError(
            f"gettext: package '{package}' in {roots[0]} has no compiled message catalog "
            "(<locale>/LC_MESSAGES/*.mo); name a package that has some"
        )
    return found


def read_catalog(path: os.PathLike | str) -> Catalog:
    """Parses a compiled catalog.

    Raises:
      DataError: the file is not a catalog, is cut off, or is not in the encoding it declares.
      StorageError: the file cannot be read.
    """
    with storage_faults("reading a message catalog", path):
        content = pathlib.Path(path).read_bytes()
    try:
        raw = list(_messages(content))
        header = HeaderParser().parsestr(next((t.decode() for m, t in raw if not m), ""))
        charset = header.get_content_charset("utf-8")
        entries = tuple(
            _entry(message.decode(charset), text.decode(charset))
            for message, text in raw
            if message
        )
        return Catalog(
            path=os.fspath(path), plural_form=_plural_form(header["Plural-Forms"]), entries=entries
        )
    except (struct.error, ValueError, LookupError) as error:
        raise DataError(
            f"gettext: {path} cannot be parsed as a compiled message catalog ({error}); "
            "reinstall the package that it belongs to"
        ) from error


def _messages(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    (magic,) = struct.unpack_from("<I", content)
    if magic not in (_LITTLE_ENDIAN, _BIG_ENDIAN):
        raise ValueError(f"begins with {content[:4].hex()}")
    order = "<" if magic == _LITTLE_ENDIAN else ">"
    version, num_messages, messages_at, texts_at = struct.unpack_from(f"{order}4I", content, 4)
    if version >> 16 not in (0, 1):
        raise ValueError(f"format version {version >> 16}")
    for index in range(num_messages):
        message, text = (
            _string(content, *struct.unpack_from(f"{order}2I", content, table + 8 * index))
            for table in (messages_at, texts_at)
        )
        yield message, text


def _string(content: bytes, num_bytes: int, begin: int) -> bytes:
    if begin + num_bytes > len(content):
        raise ValueError(f"cut off: {len(content)} bytes, at least {begin + num_bytes} expected")
    return content[begin : begin + num_bytes]


def _entry(message: str, text: str) -> CatalogEntry:
    message = message.rpartition(_CONTEXT_END)[2]
    english, separator, plural = message.partition(_PLURAL_SEPARATOR)
    return CatalogEntry(
        english=english,
        english_plural=plural if separator else None,
        translations=tuple(text.split(_PLURAL_SEPARATOR)) if separator else (text,),
    )


def _plural_form(declared: str | None) -> Callable[[int], int]:
    """Returns the rule of a `Plural-Forms` header, or English's where there is none."""
    for part in (declared or "").split(";"):
        name, _, rule = part.partition("=")
        if name.strip() == "plural":
            return gettext.c2py(rule.strip())
    return lambda number: int(number != 1)
