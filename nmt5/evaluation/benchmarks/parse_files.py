"""Semantic parses: MTOP's files of eight columns."""

from collections import Counter
from collections.abc import Iterator

from etils import epath

from nmt5.evaluation.benchmarks.located_lines import read_rows
from nmt5.evaluation.benchmarks.records import Parse

# id, intent, slot string, utterance, domain, locale, decoupled form, tokens (JSON).
_NUM_COLUMNS = 8


def read_mtop(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[Parse]:
    """Yields the utterances of a file `mtop/<language>/{train,eval,test}.txt`.

    Args:
      path: the file, tab separated, without a header.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a line without eight columns, or a decoupled form whose brackets do not match.
    """
    del dropped
    for cells, place in read_rows(path, columns=_NUM_COLUMNS):
        identity, _, _, utterance, domain, _, parse, _ = cells
        if not parse.startswith("[IN:") or not _brackets_match(parse):
            raise place.error(f"decoupled form {parse!r}, expected [IN:... ] with brackets closed")
        yield Parse(id=identity, utterance=utterance, domain=domain, parse=parse)


def _brackets_match(parse: str) -> bool:
    depth = 0
    for position, character in enumerate(parse):
        depth += (character == "[") - (character == "]")
        if depth < 0 or (depth == 0 and position + 1 < len(parse.rstrip())):
            return False
    return depth == 0
