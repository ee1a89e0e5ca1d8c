"""Errors that a user can mend, and hints towards the nearest known name.

The command line prints the message of a `UserError` and exits with code 2; any other exception is
a defect of nmt5 and keeps its traceback.
"""

from collections.abc import Iterable
import difflib


class UserError(Exception):
    """Wrong input or surroundings. The message says what, where, found, expected, remedy."""


class ConfigError(UserError):
    """A setting is missing, misspelt, out of range or contradicts another."""


class DataError(UserError):
    """A text source, store or mixture cannot be used as it is."""


class VocabularyError(UserError):
    """A vocabulary is missing or differs from the one that made a store, checkpoint or run."""


class CheckpointError(UserError):
    """A checkpoint is missing, incomplete, corrupt or of another model."""


class StorageError(UserError):
    """A file or directory cannot be read or written."""


class ProcessError(UserError):
    """Other processes of the same run are missing, gone, or were started differently."""


class StallError(UserError):
    """Nothing has happened for longer than the user allows."""


def unknown_name(kind: str, name: str, known: Iterable[str], *, limit: int = 5) -> str:
    """Returns a message for a name that is not known, with the nearest names that are.

    >>> unknown_name("model size", "smal", ["small", "base"])
    "unknown model size 'smal'; nearest: 'small'; 2 known"

    Args:
      kind: what the name should have been, for example "task".
      name: the name that was given.
      known: all names that would have been right.
      limit: how many near names to list.

    Returns:
      One line without a final full stop.
    """
    known = sorted(set(known))
    if not known:
        return f"unknown {kind} '{name}'; none is known"
    near = difflib.get_close_matches(name, known, n=limit, cutoff=0.5)
    near = near or [k for k in known if name.lower() in k.lower()][:limit]
    if near:
        shown = "nearest: " + ", ".join(f"'{n}'" for n in near)
    else:
        shown = "for example " + ", ".join(f"'{n}'" for n in known[:limit])
    return f"unknown {kind} '{name}'; {shown}; {len(known)} known"
