"""Examples of one's own: TSV or JSON lines with a column of inputs and one of targets.

    a.tsv     the first line names the columns: `inputs<TAB>targets`
    a.jsonl   {"inputs": "...", "targets": "..."} per line; targets may be a list of right answers

Both may be compressed with gzip.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from nmt5.core.errors import DataError, unknown_name
from nmt5.evaluation.benchmarks.located_lines import Place, read_json_lines, read_table, text_of
from nmt5.evaluation.text_to_answer.label_text import normal_label
from nmt5.evaluation.text_to_answer.text_example import TextExample


def read_columns(
    path: epath.PathLike,
    *,
    columns: tuple[str, str] = ("inputs", "targets"),
    labels: Sequence[str] = (),
    dropped: Counter[str],
) -> Iterator[TextExample]:
    """Yields the examples of a file.

    Args:
      path: JSON lines if the name ends in `.jsonl` or `.jsonl.gz`, else tab-separated with a line
        of column names.
      columns: of the text that the model reads, and of what it should write. The latter may be a
        list in JSON, of which the first is trained on.
      labels: the only targets that are allowed; () for any.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a column is missing, a value is not text, a line is cut off or has other columns, a
        target outside the labels; names file and line.
    """
    del dropped
    inputs, targets = columns
    allowed = set(map(normal_label, labels))
    if str(path).removesuffix(".gz").endswith(".jsonl"):
        rows: Iterator[tuple[dict[str, Any], Place]] = read_json_lines(path, required=columns)
    else:
        rows = read_table(path, required=columns)
    for number, (row, place) in enumerate(rows):
        references = _texts(row[targets], targets, place)
        for one in references:
            if labels and normal_label(one) not in allowed:
                raise _outside(one, labels, place)
        yield TextExample(
            id=str(number),
            inputs=text_of(row, inputs, place),
            targets=references[0],
            references=references,
        )


def labels_of(path: epath.PathLike, *, columns: tuple[str, str]) -> tuple[str, ...]:
    """Returns all targets of a file, sorted.

    Raises:
      DataError: an empty target, which is no label; and as `read_columns`.
    """
    labels = set()
    for one in read_columns(path, columns=columns, dropped=Counter()):
        labels.update(map(normal_label, one.references))
    if "" in labels:
        raise DataError(f"{path}: a target is empty, which is no label; mend or remove the record")
    return tuple(sorted(labels))


def _outside(label: str, labels: Sequence[str], place: Place) -> DataError:
    return place.error(
        unknown_name("label", label, labels), "mend the record, or name it in TaskConfig.labels"
    )


def _texts(value: Any, key: str, place: Place) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise place.error(f"{key} is {value!r}, expected text or a list of texts")
    return tuple(texts)
