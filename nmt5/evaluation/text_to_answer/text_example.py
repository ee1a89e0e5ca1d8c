"""One example as text, for whatever task."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextExample:
    """What a model reads, what it should write, and what scoring compares that with.

    Attributes:
      id: the record's id.
      inputs: text for the encoder.
      targets: text for the decoder in training.
      references: all right texts; the metrics take the best match. One unless the task has more.
    """

    id: str
    inputs: str
    targets: str
    references: tuple[str, ...]


def one_answer(identity: str, inputs: str, targets: str) -> TextExample:
    """Returns an example whose only reference is its target."""
    return TextExample(id=identity, inputs=inputs, targets=targets, references=(targets,))
