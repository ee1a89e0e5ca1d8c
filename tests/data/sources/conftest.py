"""Small installed packages with compiled catalogs, made on the spot."""

import importlib
import struct

import pytest

HEADER = "Content-Type: text/plain; charset={charset}\nPlural-Forms: {plural}\n"
GERMANIC = "nplurals=2; plural=(n != 1);"


def compiled(messages, *, plural=GERMANIC, charset="utf-8", order="<"):
    """Returns the bytes of a .mo file."""
    entries = {"": HEADER.format(charset=charset, plural=plural)} | messages
    keys = sorted(entries)
    blobs = [k.encode(charset) for k in keys] + [entries[k].encode(charset) for k in keys]
    begin = 28 + 16 * len(keys)
    table, content = b"", b""
    for blob in blobs:
        table += struct.pack(f"{order}2I", len(blob), begin + len(content))
        content += blob + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, begin)
    return head + table + content


@pytest.fixture
def make_package(tmp_path, monkeypatch):
    """Returns a function that puts a package of catalogs on the import path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, catalogs, **settings):
        for locale, messages in catalogs.items():
            directory = tmp_path / name / "locale" / locale / "LC_MESSAGES"
            directory.mkdir(parents=True)
            content = messages if isinstance(messages, bytes) else compiled(messages, **settings)
            (directory / "app.mo").write_bytes(content)
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
        importlib.invalidate_caches()
        return tmp_path / name

    return make
