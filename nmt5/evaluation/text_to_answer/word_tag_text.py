"""Parts of speech as text: one tag per token, in order. Chosen here; mt5 has no such task."""

from collections.abc import Sequence

from nmt5.evaluation.benchmarks.records import TaggedSentence
from nmt5.evaluation.text_to_answer.text_example import TextExample, one_answer


def word_tag_text(record: TaggedSentence) -> TextExample:
    """Returns a sentence with its tags.

    >>> from nmt5.evaluation.benchmarks.records import TaggedSentence
    >>> one = TaggedSentence(id="1", tokens=("10 000", "cats"), tags=("NUM", "NOUN"))
    >>> text = word_tag_text(one)
    >>> text.inputs, text.targets
    ('pos: 10_000 cats', 'NUM NOUN')

    A blank inside a token (numbers in French, most words in Vietnamese treebanks) is written `_`,
    so that the number of tokens can be seen.
    """
    tokens = ["_".join(token.split()) for token in record.tokens]
    return one_answer(record.id, f"pos: {' '.join(tokens)}", " ".join(record.tags))


def parse_word_tags(text: str, *, count: int, labels: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the tags of a text, None if their number is not `count` or one is not a label.

    Tags say by their position only which token they mean: with one too few there is no telling
    which is missing, so the whole sentence is unparseable.
    """
    tags = tuple(text.split())
    return tags if len(tags) == count and all(tag in labels for tag in tags) else None
