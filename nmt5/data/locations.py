"""Which vocabulary and which store this process uses when a task names none.

An explicit argument wins, then `configure` (the command line calls it with what gin says), then the
environment variables NMT5_VOCABULARY and NMT5_STORE.
"""

import functools
import os

from nmt5.core.errors import VocabularyError
from nmt5.data.vocabulary import Vocabulary

VOCABULARY_VARIABLE = "NMT5_VOCABULARY"
STORE_VARIABLE = "NMT5_STORE"

DEFAULT_TASK_LENGTHS = (512, 512)

_settings: dict[str, str | None] = {"vocabulary": None, "store": None}
_task_lengths: list[tuple[int, int]] = []


def configure(
    *, vocabulary: os.PathLike | str | None = None, store: os.PathLike | str | None = None
) -> None:
    """Sets which vocabulary and store registered tasks use in this process; None forgets."""
    _settings["vocabulary"] = None if vocabulary is None else os.fspath(vocabulary)
    _settings["store"] = None if store is None else os.fspath(store)


def configure_task_lengths(lengths: tuple[int, int] | None) -> None:
    """Sets the (inputs, targets) that other people's SeqIO tasks are asked for; None forgets."""
    _task_lengths[:] = [] if lengths is None else [tuple(lengths)]


def find_task_lengths() -> tuple[int, int]:
    """Returns the (inputs, targets) that other people's SeqIO tasks are asked for."""
    return _task_lengths[0] if _task_lengths else DEFAULT_TASK_LENGTHS


def find_vocabulary(vocabulary: Vocabulary | os.PathLike | str | None = None) -> Vocabulary:
    """Returns the vocabulary given, or the one configured, or the environment's.

    Raises:
      VocabularyError: none is named anywhere, or it cannot be opened.
    """
    if isinstance(vocabulary, Vocabulary):
        return vocabulary
    path = vocabulary or _settings["vocabulary"] or os.environ.get(VOCABULARY_VARIABLE)
    if not path:
        raise VocabularyError(
            "vocabulary: none is named; call nmt5.data.registry.configure(vocabulary=PATH) or set "
            f"the environment variable {VOCABULARY_VARIABLE}"
        )
    return _opened(os.fspath(path))


def find_store(store: os.PathLike | str | None = None) -> str | None:
    """Returns the store root given, or the one configured, or the environment's, or None."""
    return os.fspath(store or _settings["store"] or os.environ.get(STORE_VARIABLE) or "") or None


@functools.lru_cache(maxsize=8)
def _opened(path: str) -> Vocabulary:
    return Vocabulary.load(path)
