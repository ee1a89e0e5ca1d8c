"""What the files of the benchmarks say, once read: one record type per kind of task."""

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One example of a benchmark.

    Attributes:
      id: unique within a file, as in the source or made from the position.
    """

    id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question(Record):
    """A question with its passage and all accepted answers, at least one."""

    question: str
    context: str
    answers: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentencePair(Record):
    """Two sentences and the number of the class that they are in."""

    first: str
    second: str
    label: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(Record):
    """A premise, two candidates, whether its cause or effect is asked, and the right one."""

    premise: str
    choice1: str
    choice2: str
    question: str
    label: int

    QUESTIONS: ClassVar[tuple[str, ...]] = ("cause", "effect")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggedSentence(Record):
    """Tokens with one tag each; `intent` is "" where the benchmark has none."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    intent: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parse(Record):
    """An utterance and its semantic parse in decoupled form."""

    utterance: str
    parse: str
    domain: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Article(Record):
    """A document, its summary, and the article whose versions must stay in one split."""

    document: str
    summary: str
    article: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translation(Record):
    """A sentence and its translation; `language` is the code of the translation's language."""

    source: str
    target: str
    language: str
