"""Text that says the same in several languages, one meaning a line, as a table on disk."""

import csv
import os

from etils import epath

from nmt5.core.errors import DataError
from nmt5.core.files import storage_faults
from nmt5.data.languages import check_language

ENGLISH = "en"


def read_aligned(path: os.PathLike | str) -> dict[str, dict[str, str]]:
    """Reads a tab-separated table whose header names languages, `en` among them.

        en              fr                  de
        Sign in         Se connecter        Anmelden

    Args:
      path: the file, UTF-8. An empty cell means that there is no translation; columns whose header
        is no language code, such as an identifier, begin with '#'.

    Returns:
      `{English text: {language: text}}`; of repeated English text the first line counts.

    Raises:
      DataError: no `en` column, an unknown language, or a line of another length; names the line.
      StorageError: missing or unreadable.
    """
    path = epath.Path(path)
    with storage_faults("reading aligned text", path):
        lines = path.read_text(encoding="utf-8").split("\n")
    rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    header = rows[0] if rows else []
    languages = [name for name in header if not name.startswith("#")]
    if ENGLISH not in languages:
        raise DataError(f"aligned text: {path}, line 1: no column 'en'; found {header[:8]}")
    for language in languages:
        check_language(language)
    messages: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"aligned text: {path}, line {number}: {len(row)} columns, the header has "
                f"{len(header)}"
            )
        found = {name: text for name, text in zip(header, row) if text and name in languages}
        if english := found.pop(ENGLISH, ""):
            messages.setdefault(english, found)
    if not messages:
        raise DataError(f"aligned text: {path}: no line with English text")
    return messages
