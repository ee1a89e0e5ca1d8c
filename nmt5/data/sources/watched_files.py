"""Which files a source reads, by absolute path or pattern, and what state they are in now."""

import dataclasses
import os
from typing import Any

from etils import epath

from nmt5.data.sources.base import TextSource
from nmt5.data.sources.remote_paths import remote_faults

WILD = frozenset("*?[")


def watched(source: TextSource) -> tuple[str, ...] | None:
    """Returns the paths and patterns of the files of a source and of the sources within it.

    Returns:
      None for a source whose class has files that it does not list (`file_states` without
      `watched_files`).
    """
    if hasattr(source, "watched_files"):
        found = list(source.watched_files())  # pyright: ignore[reportAttributeAccessIssue]
    elif hasattr(source, "file_states"):
        return None
    else:
        found = []
    for field in dataclasses.fields(source):
        value = getattr(source, field.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, TextSource):
                entries = watched(inner)
                if entries is None:
                    return None
                found += entries
    return tuple(found)


def state_of(entry: str) -> list[list[Any]]:
    """Returns [path, bytes, time of change] of each file that a path or pattern stands for."""
    return [[path, *file_state(path)] for path in matches(entry)]


def file_state(path: str) -> tuple[int, float]:
    """Returns (bytes, time of change) of a file; (-1, 0) if there is none."""
    with remote_faults(path):
        file = epath.Path(path)
        if not file.exists():
            return -1, 0.0
        stat = file.stat()
        # Some storage tells no time; then only the size shows a change.
        return int(stat.length), float(stat.mtime or 0)


def matches(pattern: str) -> list[str]:
    """Returns the paths that match an absolute path or pattern, sorted; a plain path is itself."""
    if not WILD & set(pattern):
        return [pattern]
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if WILD & set(part))
    start = "/".join(parts[:fixed]) or ("/" if pattern[0] == "/" else ".")
    with remote_faults(pattern):
        return sorted(os.fspath(match) for match in epath.Path(start).glob("/".join(parts[fixed:])))
