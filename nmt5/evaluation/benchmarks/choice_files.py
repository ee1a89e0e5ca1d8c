"""Choice of the more plausible cause or effect: XCOPA's JSON lines."""

from collections import Counter
from collections.abc import Iterator

from etils import epath

from nmt5.evaluation.benchmarks.located_lines import read_json_lines, text_of
from nmt5.evaluation.benchmarks.records import Choice


def read_xcopa(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[Choice]:
    """Yields the choices of a file.

    Args:
      path: the file.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a line is not JSON, lacks a key, or its label or question is outside the set.
    """
    del dropped
    required = ["premise", "choice1", "choice2", "question", "label", "idx"]
    for value, place in read_json_lines(path, required=required):
        # By type, too: 1.0 and true are equal to 1.
        if type(value["label"]) is not int or value["label"] not in (0, 1):
            raise place.error(f"label {value['label']!r}, expected 0 or 1")
        if value["question"] not in Choice.QUESTIONS:
            raise place.error(f"question {value['question']!r}, expected one of {Choice.QUESTIONS}")
        yield Choice(
            id=str(value["idx"]),
            premise=text_of(value, "premise", place),
            choice1=text_of(value, "choice1", place),
            choice2=text_of(value, "choice2", place),
            question=value["question"],
            label=value["label"],
        )
