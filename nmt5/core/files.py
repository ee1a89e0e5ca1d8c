"""Writing files so that they are complete or absent, and storage faults as clear messages."""

from collections.abc import Iterator
import contextlib
import errno
import hashlib
import json
import os
from typing import Any

from etils import epath

from nmt5.core.errors import StorageError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EFBIG: "no file may be as large; choose another directory, or see `ulimit -f`",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EACCES: "no permission; choose another directory or change its permissions",
    errno.EPERM: "no permission; choose another directory or change its permissions",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another path",
    errno.EISDIR: "a directory stands where a file is needed; choose another path",
    errno.EEXIST: "a file stands where a directory is needed; choose another path",
    errno.ENOENT: "it does not exist",
    errno.EIO: "the storage fails; see to the disk or choose another one",
    errno.ESTALE: "the storage is lost; mount it again, then run the same command again",
    errno.ENODEV: "the storage is lost; mount it again, then run the same command again",
    errno.ENOTCONN: "the storage is lost; mount it again, then run the same command again",
    errno.ENOLCK: "its file system has no locks; choose a directory on another one",
    errno.EOPNOTSUPP: "its file system has no locks; choose a directory on another one",
    errno.ETIMEDOUT: "the storage does not answer; run the same command again when it does",
}


@contextlib.contextmanager
def storage_faults(doing: str, path: os.PathLike | str) -> Iterator[None]:
    """Turns an OSError that names a storage fault into a `StorageError` naming `path`.

    Args:
      doing: the activity, for example "writing the vocabulary".
      path: the file or directory it is about.

    Raises:
      StorageError: the body raised an OSError with a known cause; others pass unchanged.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise StorageError(f"{doing}: {path}: {remedy} ({error.strerror})") from error


def write_bytes(path: os.PathLike | str, content: bytes) -> None:
    """Writes a file through a temporary neighbour, so that no reader sees half of it.

    Raises:
      StorageError: full disk, no permission, or a path that cannot hold a file.
    """
    path = epath.Path(path)
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    with storage_faults("writing", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_text(path: os.PathLike | str, text: str) -> None:
    """Writes UTF-8 text completely or not at all; raises `StorageError` as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: os.PathLike | str, value: Any) -> None:
    """Writes a JSON file with sorted keys, completely or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: os.PathLike | str, *, what: str, remedy: str) -> Any:
    """Reads a JSON file.

    Args:
      path: the file.
      what: what the file is, for example "corpus description".
      remedy: what to do when it is missing or broken.

    Raises:
      StorageError: missing, unreadable or not JSON; the message ends with the remedy.
    """
    path = epath.Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(f"{what}: {path} does not exist; {remedy}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"{what}: {path} is not JSON ({error}); {remedy}") from error
    except OSError as error:
        raise StorageError(f"{what}: {path}: {error.strerror}; {remedy}") from error


def sha256(content: bytes) -> str:
    """Returns the hexadecimal SHA-256 of some bytes, the project's only fingerprint."""
    return hashlib.sha256(content).hexdigest()
