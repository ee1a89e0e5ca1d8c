"""Span F1 of entities and slots, from exact decoding and as mt5 publishes it.

Both compare multisets of (type, words), so an entity that occurs twice must be written twice; the
position in the sentence is not in the text and does not count.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
import functools
import unicodedata

import numpy as np

from nmt5.evaluation.scores.counted import CountedMetric, percentage
from nmt5.evaluation.text_to_answer.entity_text import SEPARATOR, parse_entities


def entity_counts(
    prediction: str, references: Sequence[str], language: str, *, labels: Sequence[str] | None
) -> tuple[float, ...]:
    """Returns right, predicted and gold entities, whether a part was unparseable, and 1.

    A part that cannot be read counts as a predicted entity that is wrong. Both sides are NFKC: the
    vocabulary applies it, so no model can write a full-width letter that the gold text has.
    """
    del language
    gold = parse_entities(unicodedata.normalize("NFKC", references[0]), labels)
    found = parse_entities(unicodedata.normalize("NFKC", prediction), labels)
    right = _in_common(found.entities, gold.entities)
    guessed = len(found.entities) + found.unparseable
    return right, guessed, len(gold.entities), found.unparseable > 0, 1


def entity_counts_mt5(
    prediction: str, references: Sequence[str], language: str
) -> tuple[float, ...]:
    """Returns right, predicted and gold entities by mt5's reading: parts with exactly one colon.

    Source: https://github.com/google-research/multilingual-t5/blob/9dcd60fc/multilingual_t5/evaluation/metrics.py
    (`span_f1`).
    """
    del language
    gold, found = _mt5_entities(references[0]), _mt5_entities(prediction)
    return _in_common(found, gold), len(found), len(gold)


def entities(labels: Sequence[str] | None) -> CountedMetric:
    """Returns span F1 by exact decoding.

    Args:
      labels: the types that are possible; others count as unparseable. None allows any.
    """
    return CountedMetric(
        name="entities",
        signature="entities|micro-f1|spans:type+words|nfkc|case:kept|decoding:exact",
        count=functools.partial(entity_counts, labels=labels),
        results=_f1_with_unparseable,
        main="span_f1",
        shares=("unparseable",),
    )


ENTITIES_MT5 = CountedMetric(
    name="entities_mt5",
    signature="entities_mt5|micro-f1|spans:type+words|case:kept|decoding:mt5|range:0-100",
    count=entity_counts_mt5,
    results=lambda sums_XK: {"span_f1_mt5": _f1(sums_XK)[0]},
    main="span_f1_mt5",
)


def _mt5_entities(text: str) -> list[tuple[str, ...]]:
    parts = [part.split(":") for part in text.split(SEPARATOR)]
    return [tuple(cell.strip() for cell in part) for part in parts if len(part) == 2]


def _in_common(first: Iterable[Hashable], second: Iterable[Hashable]) -> int:
    return sum((Counter(first) & Counter(second)).values())


def _f1(sums_XK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    right, guessed, gold = (sums_XK[..., i] for i in range(3))
    # Nothing to find and nothing found is right; mt5 gives 0 there.
    return (
        percentage(2 * right, guessed + gold, if_none=100.0),
        percentage(right, guessed, if_none=100.0),
        percentage(right, gold, if_none=100.0),
    )


def _f1_with_unparseable(sums_XK: np.ndarray) -> dict[str, np.ndarray]:
    f1, precision, recall = _f1(sums_XK)
    return {
        "span_f1": f1,
        "span_precision": precision,
        "span_recall": recall,
        "unparseable": percentage(sums_XK[..., 3], sums_XK[..., 4]),
    }
