"""Nested dictionaries seen as flat ones with '/'-joined paths, the names used in every message."""

from collections.abc import Mapping
from typing import Any


def flatten_paths(nested: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Returns `{path: leaf}` in sorted order of keys.

    >>> flatten_paths({"b": {"c": 1}, "a": 2})
    {'a': 2, 'b/c': 1}
    """
    flat: dict[str, Any] = {}
    for key in sorted(nested):
        path = f"{prefix}/{key}" if prefix else str(key)
        value = nested[key]
        if isinstance(value, Mapping):
            flat.update(flatten_paths(value, prefix=path))
        else:
            flat[path] = value
    return flat


def unflatten_paths(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested dictionary of `flatten_paths`.

    >>> unflatten_paths({"a": 2, "b/c": 1})
    {'a': 2, 'b': {'c': 1}}

    Raises:
      ValueError: a path is both a leaf and the beginning of another path.
    """
    nested: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"path '{path}': '{parent}' is a leaf already")
        if last in node:
            raise ValueError(f"path '{path}' occurs twice or is the beginning of another")
        node[last] = leaf
    return nested
