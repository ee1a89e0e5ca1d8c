"""Tables of how much text languages and pairs have, for sampling by counts other than the store's.

A table is a TSV file: a language (`fr`) or pair (`en-fr`, in either order) and a number per line,
further columns are ignored. A first line whose second column is no number is a header. The unit
does not matter, as long as it is one for all pairs and one for all languages.
"""

from collections.abc import Iterable, Mapping
import os

from etils import epath

from nmt5.core.errors import DataError
from nmt5.core.files import storage_faults
from nmt5.data.languages import language_code, pair

# (language,) or the pair as `nmt5.data.languages.pair` orders it.
Counts = dict[tuple[str, ...], float]


def counts_of(given: Mapping[str, float] | Iterable[os.PathLike | str]) -> Counts:
    """Returns counts from a mapping of names, or from the tables at some paths.

    Raises:
      DataError: an unknown language, a number below 0, or a name listed twice.
      StorageError: a file is missing or cannot be read.
    """
    counts: Counts = {}
    if isinstance(given, Mapping):
        for name, number in given.items():
            _enter(counts, name, number, where="counts")
        return counts
    for path in given:
        _read(counts, epath.Path(path).expanduser())
    return counts


def languages_of(name: str) -> tuple[str, ...]:
    """Returns the language or the two that a name stands for.

    >>> languages_of("he"), languages_of("fr-en"), languages_of("zh-Hant-en")
    (('iw',), ('en', 'fr'), ('en', 'zh-Hant'))

    Raises:
      DataError: neither a language nor two with '-' between them.
    """
    parts = name.split("-")
    for cut in range(1, len(parts)):
        try:
            first, second = (language_code("-".join(p)) for p in (parts[:cut], parts[cut:]))
        except DataError:
            continue
        if first != second:
            return pair(first, second)
    return (language_code(name),)


def _read(counts: Counts, path: epath.Path) -> None:
    with storage_faults("reading the table of counts", path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        name, _, rest = line.partition("\t")
        value = rest.partition("\t")[0].strip().replace(",", "")
        try:
            count = float(value)
        except ValueError as error:
            if number == 1:
                continue
            raise DataError(
                f"counts: {path}: line {number}: '{value}' is no number; expected a language or "
                "pair and a number, parted by a tab"
            ) from error
        _enter(counts, name.strip(), count, where=f"counts: {path}: line {number}")


def _enter(counts: Counts, name: str, count: float, *, where: str) -> None:
    try:
        languages = languages_of(name)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if not 0 <= count < float("inf"):
        raise DataError(f"{where}: {name}: {count}, expected a number of at least 0")
    if languages in counts:
        raise DataError(f"{where}: {'-'.join(languages)} is listed twice")
    counts[languages] = count
