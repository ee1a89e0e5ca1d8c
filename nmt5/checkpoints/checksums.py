"""SHA-256 of every file of a checkpoint, because Orbax restores a flipped byte without a word.

The list is written into the checkpoint's directory before that directory gets its final name, so
a checkpoint that can be seen has one.
"""

from collections.abc import Mapping
import concurrent.futures
import errno
import hashlib
import json
import os
import re

from etils import epath

from nmt5.core.files import write_json

FILE = "checksums.json"
# Orbax writes these while it gives the directory its name, after our list is complete: an empty
# mark, and times that restoring does not need.
_NOT_LISTED = (FILE, "commit_success.txt", "_CHECKPOINT_METADATA")
_BLOCK_BYTES = 1 << 20
_DATA_FILE = re.compile(r"(^|/)d/[0-9a-f]{32}$")
_THREADS = 4  # hashlib leaves the interpreter free while it works on a block


def _digest(path: epath.Path, *, flush: bool = False) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if flush and hasattr(file, "fileno"):  # a bucket's file has none, and needs none
            os.fsync(file.fileno())
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _files(directory: epath.Path, *, below: str = "") -> dict[str, epath.Path]:
    """Returns `{path relative to the directory: path}` of all files below it."""
    found: dict[str, epath.Path] = {}
    for path in directory.iterdir():
        name = f"{below}{path.name}"
        if path.is_dir():
            found.update(_files(path, below=f"{name}/"))
        elif path.name not in _NOT_LISTED:
            found[name] = path
    return found


class RunningChecksums:
    """Works out checksums while a checkpoint is written, for the files that are whole already.

    Those are the data files of an OCDBT database: one is never changed after it has its name, and
    has another name until then. A second pass over 2.3 GB takes as long as reading them did.
    """

    def __init__(self, directory: epath.PathLike):
        self._directory = epath.Path(directory)
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._digests: dict[str, concurrent.futures.Future[str]] = {}

    def look(self) -> None:
        """Begins with the files that have been finished since the last look."""
        for name, path in _files(self._directory).items():
            if _DATA_FILE.search(name) and name not in self._digests:
                self._digests[name] = self._pool.submit(_digest, path)

    def close(self) -> dict[str, str]:
        """Waits, and returns `{path relative to the directory: SHA-256}`."""
        self._pool.shutdown()
        return {name: found.result() for name, found in self._digests.items()}


def write_checksums(
    directory: epath.PathLike, *, flush: bool = True, known: Mapping[str, str] | None = None
) -> None:
    """Writes `checksums.json` for all files that are below `directory` now.

    Args:
      directory: a checkpoint.
      flush: puts all files on the disk, not only in memory, before the list is written: an older
        checkpoint is removed only after this, and a power cut may come at any time. False where
        the source stays and the list will show what a power cut took.
      known: `{path relative to the directory: SHA-256}` of files that were read already.

    Raises:
      StorageError: the list cannot be written.
    """
    directory = epath.Path(directory)
    paths = _files(directory)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        digests = {
            name: pool.submit(_digest, path, flush=flush)
            for name, path in paths.items()
            if name not in (known or {})
        }
        found = dict(known or {}) | {name: digest.result() for name, digest in digests.items()}
    files = {
        name: {"bytes": path.stat().length, "sha256": found[name]} for name, path in paths.items()
    }
    write_json(directory / FILE, {"format": 1, "files": files})


def has_checksums(directory: epath.PathLike) -> bool:
    """Returns whether the save that made `directory` came to its end."""
    return (epath.Path(directory) / FILE).exists()


def find_damage(directory: epath.PathLike) -> list[str]:
    """Compares the files below `directory` with its list; lengths first, then contents.

    Args:
      directory: a checkpoint.

    Returns:
      One line for each missing, shortened or changed file; empty if all is as it was written.
      Files that are not in the list are no damage.
    """
    directory = epath.Path(directory)
    try:
        expected = json.loads((directory / FILE).read_text())["files"]
    except FileNotFoundError:
        return [f"{FILE} is missing"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{FILE} cannot be read ({error})"]
    found = _files(directory)
    damage = []
    for name, record in sorted(expected.items()):
        if name not in found:
            damage.append(f"{name} is missing")
        elif (length := found[name].stat().length) != record["bytes"]:
            damage.append(f"{name} has {length} bytes, expected {record['bytes']}")
    if damage:
        return damage
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        digests = {name: pool.submit(_digest, found[name]) for name in sorted(expected)}
        for name, digest in digests.items():
            try:
                differs = digest.result() != expected[name]["sha256"]
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                damage.append(f"{name} cannot be read ({error.strerror})")
            else:
                if differs:
                    damage.append(f"{name} has other contents than were written (SHA-256 differs)")
    return damage
