"""Token ids of examples: those that an example brings along, else those of its text."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.text_to_answer.text_example import TextExample


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenExample(TextExample):
    """An example whose ids were made elsewhere (SeqIO).

    Attributes:
      input_ids: without end of sequence.
      target_ids: likewise.
      task: name of the SeqIO task.
      fields: all features that the task gave it, for the task's postprocessor.
    """

    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    task: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def input_ids(examples: Sequence[TextExample], vocabulary: Vocabulary) -> list[list[int]]:
    """Returns the ids of the inputs, without end of sequence."""
    return _ids(examples, vocabulary, text="inputs", own="input_ids")


def target_ids(examples: Sequence[TextExample], vocabulary: Vocabulary) -> list[list[int]]:
    """Returns the ids of the targets, without end of sequence."""
    return _ids(examples, vocabulary, text="targets", own="target_ids")


def _ids(
    examples: Sequence[TextExample], vocabulary: Vocabulary, *, text: str, own: str
) -> list[list[int]]:
    bare = [one for one in examples if not isinstance(one, TokenExample)]
    encoded = iter(vocabulary.encode_batch([getattr(one, text) for one in bare]))
    return [
        list(getattr(one, own)) if isinstance(one, TokenExample) else next(encoded)
        for one in examples
    ]
