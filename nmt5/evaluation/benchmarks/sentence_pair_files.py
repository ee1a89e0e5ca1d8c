"""Two sentences and a class: inference (XNLI, MultiNLI, FarsTail) and paraphrase (PAWS-X)."""

from collections import Counter
from collections.abc import Iterator, Mapping

from etils import epath

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.located_lines import Place, read_rows, read_table
from nmt5.evaluation.benchmarks.records import SentencePair

# XNLI's order of classes (TFDS `xnli`, `multi_nli`), which mt5 writes as "0", "1", "2". Its files
# say "contradictory" in the translated training data and "contradiction" elsewhere.
INFERENCE_CLASSES: Mapping[str, int] = {
    "entailment": 0,
    "neutral": 1,
    "contradiction": 2,
    "contradictory": 2,
    "e": 0,
    "n": 1,
    "c": 2,
    "0": 0,
    "1": 1,
    "2": 2,
}

# The names that the columns have in XNLI and MultiNLI, in XNLI's translations, in FarsTail.
_COLUMNS = {
    "first": ("sentence1", "premise"),
    "second": ("sentence2", "hypothesis", "hypo"),
    "label": ("gold_label", "label"),
}


def read_inference(
    path: epath.PathLike,
    *,
    language: str | None = None,
    quoted: bool = False,
    dropped: Counter[str],
) -> Iterator[SentencePair]:
    """Yields the pairs of a tab-separated file whose first line names its columns.

    Args:
      path: the file.
      language: keep only lines with this value in the column `language` (XNLI's files hold all).
      quoted: cells may stand in quotation marks (FarsTail).
      dropped: receives the lines that have another language, or no agreed label ("-", MultiNLI).

    Raises:
      DataError: a column is missing, a line has other columns, a label outside the set.
    """
    required = ["language"] if language is not None else []
    columns: dict[str, str] = {}
    rows = read_table(path, required=required, quoted=quoted)
    for number, (row, place) in enumerate(rows):
        if not columns:
            columns = {key: _column(row, names, str(path)) for key, names in _COLUMNS.items()}
        if language is not None and row["language"] != language:
            dropped["other language"] += 1
            continue
        label = row[columns["label"]]
        if label == "-":
            dropped["no agreed label"] += 1
            continue
        if label not in INFERENCE_CLASSES:
            raise place.error(f"label {label!r}, expected one of {list(INFERENCE_CLASSES)}")
        yield SentencePair(
            id=str(number),
            first=row[columns["first"]],
            second=row[columns["second"]],
            label=INFERENCE_CLASSES[label],
        )


def read_paraphrases(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[SentencePair]:
    """Yields PAWS-X pairs: `sentence1, sentence2, label`, in PAWS-X's own files after an id.

    Args:
      path: the file; a first line `id sentence1 sentence2 label` is recognised.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a line with other columns, or a label that is neither 0 nor 1.
    """
    del dropped
    with_id = False
    for number, (cells, place) in enumerate(read_rows(path, at_least=3)):
        if number == 0 and cells[0] == "id" and cells[-1] == "label":
            with_id = True
            continue
        if len(cells) != 3 + with_id:
            raise place.error(f"{len(cells)} tab-separated cells, expected {3 + with_id}")
        *identity, first, second, label = cells
        if label not in ("0", "1"):
            raise place.error(f"label {label!r}, expected 0 (different) or 1 (paraphrase)")
        yield SentencePair(
            id=identity[0] if identity else str(number),
            first=first,
            second=second,
            label=int(label),
        )


def _column(row: Mapping[str, str], names: tuple[str, ...], path: str) -> str:
    for name in names:
        if name in row:
            return name
    raise DataError(f"{Place(path, 'line 1')}: no column {' or '.join(names)}, found {list(row)}")
