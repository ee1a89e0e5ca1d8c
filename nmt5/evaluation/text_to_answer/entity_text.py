r"""Entities and slots as text: `PER: Ada Lovelace $$ LOC: London`, mt5's form of WikiAnn.

mt5 reads a part only if it has exactly one colon, so an entity with a colon is lost on both sides,
and one with ` $$ ` falls apart. Here the type ends at the first colon, and a `$` after a `$` inside
an entity is written `\$` (a backslash `\\`): every list of entities comes back exactly, and the
text differs from mt5's only where mt5's cannot be read back. No such entity occurs in Universal
NER's or xSID's files.

Source: https://github.com/google-research/multilingual-t5/blob/9dcd60fc/multilingual_t5/tasks.py
(`ner_train`, `ner_eval`).
"""

from collections.abc import Sequence
import dataclasses
import re

from nmt5.evaluation.benchmarks.records import TaggedSentence
from nmt5.evaluation.tag_spans import spans_of_tags
from nmt5.evaluation.text_to_answer.text_example import TextExample, one_answer

SEPARATOR = " $$ "
_REPEATED_DOLLAR = re.compile(r"(?<=\$)\$")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclasses.dataclass(frozen=True, order=True)
class Entity:
    """The type and the words of an entity or slot."""

    label: str
    text: str


@dataclasses.dataclass(frozen=True)
class ParsedEntities:
    """What a text says, and how many of its parts say nothing that can be read."""

    entities: tuple[Entity, ...]
    unparseable: int


def entity_text(record: TaggedSentence) -> TextExample:
    """Returns a sentence with its entities.

    >>> from nmt5.evaluation.benchmarks.records import TaggedSentence
    >>> one = TaggedSentence(id="1", tokens=("Ada", "likes", "Rio", "."),
    ...                      tags=("B-PER", "O", "B-LOC", "O"))
    >>> text = entity_text(one)
    >>> text.inputs, text.targets
    ('tag: Ada likes Rio .', 'PER: Ada $$ LOC: Rio')
    """
    return one_answer(record.id, f"tag: {' '.join(record.tokens)}", write_entities(_found(record)))


def slot_text(record: TaggedSentence) -> TextExample:
    """Returns an utterance with its slots in the form of entities; chosen here.

    `slots: wake me at five` -> `datetime: at five`.
    """
    inputs = f"slots: {' '.join(record.tokens)}"
    return one_answer(record.id, inputs, write_entities(_found(record)))


def write_entities(entities: Sequence[Entity]) -> str:
    """Returns the text of some entities, "" for none; white space becomes single blanks."""
    return SEPARATOR.join(f"{one.label}: {_escape(one.text)}" for one in entities)


def parse_entities(text: str, labels: Sequence[str] | None = None) -> ParsedEntities:
    r"""Returns the entities of a text, the inverse of `write_entities`.

    >>> parse_entities("ORG: Foo: Bar $$ LOC $$ PER: ").entities
    (Entity(label='ORG', text='Foo: Bar'),)
    >>> parse_entities("ORG: Foo: Bar $$ LOC $$ PER: ").unparseable
    2

    Args:
      text: what a model wrote, or a target.
      labels: the types that are possible; None allows any.

    Returns:
      The entities in order, duplicates kept. A part without colon, without words or with another
      type is counted as unparseable.
    """
    entities, unparseable = [], 0
    # Blanks at the ends, so that a separator there still parts (what it parts is empty).
    for part in f" {' '.join(text.split())} ".split(SEPARATOR) if text.strip() else []:
        label, colon, words = part.strip().partition(":")
        words = " ".join(_ESCAPED.sub(r"\1", words).split())
        if colon and words and label and (labels is None or label in labels):
            entities.append(Entity(label, words))
        else:
            unparseable += 1
    return ParsedEntities(tuple(entities), unparseable)


def _escape(text: str) -> str:
    text = " ".join(text.split()).replace("\\", "\\\\")
    return _REPEATED_DOLLAR.sub(r"\\$", text)


def _found(record: TaggedSentence) -> list[Entity]:
    return [
        Entity(span.label, " ".join(record.tokens[span.start : span.end]))
        for span in spans_of_tags(record.tags)
    ]
