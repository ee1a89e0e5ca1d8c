"""Examples of one's own: a TSV with named columns, or JSON lines, with inputs and targets."""

from collections.abc import Iterator

from etils import epath

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.located_lines import read_json_lines, read_table, text_of
from nmt5.evaluation.text_to_answer.text_example import TextExample


def read_columns(
    path: epath.PathLike, *, inputs: str = "inputs", targets: str = "targets"
) -> Iterator[TextExample]:
    """Yields the examples of a file of one's own.

    Args:
      path: JSON lines if the name ends in `.jsonl` or `.jsonl.gz`, else tab-separated with a line
        of column names.
      inputs: column or key of the text that the model reads.
      targets: column or key of what it should write. In JSON it may be a list of right texts, of
        which the first is trained on.

    Raises:
      DataError: a column is missing, a value is not text, or the file has no example.
    """
    empty = True
    if str(path).removesuffix(".gz").endswith(".jsonl"):
        for value, place in read_json_lines(path, required=[inputs, targets]):
            references = value[targets]
            if not isinstance(references, list):
                references = [text_of(value, targets, place)]
            if not references or not all(isinstance(one, str) for one in references):
                raise place.error(f"{targets} is {references!r}, expected text or a list of texts")
            empty = False
            yield TextExample(
                id=place.record.removeprefix("line "),
                inputs=text_of(value, inputs, place),
                targets=references[0],
                references=tuple(references),
            )
    else:
        for row, place in read_table(path, required=[inputs, targets]):
            empty = False
            yield TextExample(
                id=place.record.removeprefix("line "),
                inputs=row[inputs],
                targets=row[targets],
                references=(row[targets],),
            )
    if empty:
        raise DataError(f"{path}: no examples; the split is empty")
