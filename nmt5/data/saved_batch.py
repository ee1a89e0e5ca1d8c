"""A batch as a file: what a run that stopped on bad numbers leaves to look at."""

from collections.abc import Iterator, Mapping
import io
import json
import os
from typing import Any
import zipfile

from etils import epath
import numpy as np

from nmt5.core import features
from nmt5.core.errors import DataError, StorageError
from nmt5.core.files import write_bytes
from nmt5.data.inspection import SeenRow, seen_row

_FACTS = "facts"


def write_batch(
    path: os.PathLike | str,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    *,
    facts: Mapping[str, Any],
) -> None:
    """Writes one batch as a compressed `.npz` file, completely or not at all.

    Args:
      path: the file.
      arrays: `{objective: {feature: int array (rows, length)}}`.
      facts: JSON-able; what is known of the batch.

    Raises:
      StorageError: it cannot be written.
    """
    flat = {
        f"{name}/{key}": array for name, group in arrays.items() for key, array in group.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{_FACTS: np.array(json.dumps(facts))}, **flat)
    write_bytes(path, buffer.getvalue())


def read_batch(
    path: os.PathLike | str,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Returns the arrays and facts that `write_batch` took.

    Raises:
      StorageError: the file cannot be read.
      DataError: it holds no batch.
    """
    path = epath.Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"saved batch: {path}: {error.strerror}") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            facts = json.loads(str(file[_FACTS]))
            arrays: dict[str, dict[str, np.ndarray]] = {}
            for key in file.files:
                if key != _FACTS:
                    objective, _, feature = key.rpartition("/")
                    arrays.setdefault(objective, {})[feature] = file[key]
        return arrays, facts
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"saved batch: {path}: not a batch that a run saved ({error}); expected a "
            "bad_batch_<step>.npz of a run directory"
        ) from error


def saved_rows(arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[SeenRow]:
    """Yields every row of a batch that holds text, objective by objective."""
    for objective, group in arrays.items():
        for index in range(len(group[features.ENCODER_INPUT_TOKENS])):
            row = seen_row(objective, group, index)
            if row.inputs or row.targets:
                yield row
