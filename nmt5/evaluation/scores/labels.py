"""Accuracy of classes and of tags, and exact match of parses, with what cannot be read counted."""

from collections.abc import Sequence
import unicodedata

import numpy as np

from nmt5.evaluation.scores.counted import CountedMetric, means, percentage
from nmt5.evaluation.text_to_answer.label_text import parse_label
from nmt5.evaluation.text_to_answer.word_tag_text import parse_word_tags


def class_accuracy(labels: Sequence[str]) -> CountedMetric:
    """Returns accuracy over classes; anything but a label, outer blanks aside, is wrong.

    Args:
      labels: all classes.
    """

    def count(prediction: str, references: Sequence[str], language: str) -> tuple[float, ...]:
        del language
        found = parse_label(prediction, labels)
        right = found is not None and found in (parse_label(one, labels) for one in references)
        return right, found is None, 1

    return CountedMetric(
        name="class_accuracy",
        signature=f"class_accuracy|classes:{','.join(labels)}|unparseable:wrong",
        count=count,
        results=means(("accuracy", "unparseable")),
        main="accuracy",
        shares=("unparseable",),
    )


def tag_accuracy(labels: Sequence[str]) -> CountedMetric:
    """Returns accuracy over tokens; a sentence with another number of tags is wrong throughout.

    Args:
      labels: all tags.
    """

    def count(prediction: str, references: Sequence[str], language: str) -> tuple[float, ...]:
        del language
        gold = references[0].split()
        found = parse_word_tags(prediction, count=len(gold), labels=labels)
        right = sum(a == b for a, b in zip(found or (), gold, strict=False))
        return right, len(gold), found is None, 1

    def results(sums_XK: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "token_accuracy": percentage(sums_XK[..., 0], sums_XK[..., 1]),
            "unparseable": percentage(sums_XK[..., 2], sums_XK[..., 3]),
        }

    return CountedMetric(
        name="tag_accuracy",
        signature=f"tag_accuracy|tags:{len(labels)}|wrong-number-of-tags:wrong",
        count=count,
        results=results,
        main="token_accuracy",
        shares=("unparseable",),
    )


def _exact(prediction: str, references: Sequence[str], language: str) -> tuple[float, ...]:
    del language
    return any(normal_space(prediction) == normal_space(text) for text in references), 1


def normal_space(text: str) -> str:
    """Returns NFKC text with single blanks and none around brackets.

    >>> normal_space("[IN:A [SL:B  me ] ]") == normal_space("[IN:A [SL:B me]]")
    True
    """
    text = unicodedata.normalize("NFKC", text).replace("[", " [ ").replace("]", " ] ")
    return " ".join(text.split())


PARSE_MATCH = CountedMetric(
    name="parse_match",
    signature="parse_match|exact|white-space:normal|nfkc|case:kept",
    count=_exact,
    results=means(("exact_match",)),
    main="exact_match",
)
