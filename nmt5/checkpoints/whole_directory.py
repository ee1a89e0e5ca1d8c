"""A directory that appears when it is complete or not at all, and the bar that shows its making."""

from collections.abc import Callable, Iterator
import contextlib
import os
import shutil
import sys
import time
from typing import Any

from etils import epath

from nmt5.core.errors import StorageError


@contextlib.contextmanager
def made_whole(target: epath.Path, *, num_bytes: int) -> Iterator[epath.Path]:
    """Gives a temporary directory that becomes `target` if the body succeeds, else vanishes."""
    if target.exists():
        raise StorageError(f"convert: {target} exists already; remove it or choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < num_bytes * 1.01:
        raise StorageError(
            f"convert: {target.parent}: {num_bytes / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB "
            "are free"
        )
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}-{time.time_ns()}"
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def byte_progress(total: int) -> Iterator[Callable[[int], Any]]:
    """Gives a function to which bytes are reported; shows bytes and remaining time."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    with tqdm(total=total, unit="B", unit_scale=True, desc="convert", disable=hidden) as bar:
        yield bar.update
