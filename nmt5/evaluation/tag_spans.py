"""IOB2 tags to labelled spans of tokens and back."""

from collections.abc import Sequence
import dataclasses

OUTSIDE = "O"


@dataclasses.dataclass(frozen=True, order=True)
class TokenSpan:
    """Tokens `start` to `end` (excluded) are of type `label`."""

    start: int
    end: int
    label: str


def tag_fault(tag: str, *, types: Sequence[str] | None = None) -> str | None:
    """Returns what is wrong with a tag, or None.

    >>> tag_fault("B-PER", types=("PER", "LOC")), tag_fault("PER")
    (None, "tag 'PER', expected O, B-<type> or I-<type>")

    Args:
      tag: an IOB2 tag.
      types: the types that it may have; None allows any.
    """
    if tag == OUTSIDE:
        return None
    if tag[:2] not in ("B-", "I-") or not tag[2:]:
        return f"tag {tag!r}, expected O, B-<type> or I-<type>"
    if types is not None and tag[2:] not in types:
        return f"tag {tag!r} has a type outside {', '.join(types)}"
    return None


def spans_of_tags(tags: Sequence[str]) -> list[TokenSpan]:
    """Returns the spans of IOB2 tags.

    As conlleval does, an `I-` that continues nothing begins a span: published files hold a few
    (seven in Danish DDT, forty in xSID's training side).

    >>> spans_of_tags(["B-PER", "I-PER", "O", "I-LOC"])
    [TokenSpan(start=0, end=2, label='PER'), TokenSpan(start=3, end=4, label='LOC')]

    Args:
      tags: one tag per token.

    Returns:
      Spans in order; they do not overlap.
    """
    spans: list[TokenSpan] = []
    start, label = 0, None
    for position, tag in enumerate([*tags, OUTSIDE]):
        continues = label is not None and tag == f"I-{label}"
        if label is not None and not continues:
            spans.append(TokenSpan(start, position, label))
            label = None
        if tag != OUTSIDE and not continues:
            start, label = position, tag[2:]
    return spans


def tags_of_spans(spans: Sequence[TokenSpan], *, num_tokens: int) -> list[str]:
    """Returns IOB2 tags, the inverse of `spans_of_tags` for spans that do not overlap.

    >>> tags_of_spans([TokenSpan(1, 3, "LOC")], num_tokens=4)
    ['O', 'B-LOC', 'I-LOC', 'O']
    """
    tags = [OUTSIDE] * num_tokens
    for span in spans:
        tags[span.start] = f"B-{span.label}"
        tags[span.start + 1 : span.end] = [f"I-{span.label}"] * (span.end - span.start - 1)
    return tags
