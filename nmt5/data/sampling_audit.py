"""What sampling weights mean in passes over the text, as a table.

A share of tokens becomes passes only with a number of steps: 10% of 1,048,576 tokens in 100,000
steps reads OPUS-100 (54.7 million pairs, each in two directions) about four times.
"""

from collections.abc import Mapping
import dataclasses

from nmt5.core.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One language, pair or task.

    Attributes:
      name: what is sampled.
      tokens: encoder tokens of one pass over its text.
      natural: its part of the text.
      weight: its part of the encoder tokens that are drawn.
      epochs: passes over its text that the run makes.
      removed: of a language sampled by Sinkhorn's iteration, the part of its wanted share that fell
        on directions without text and was dealt out again.
    """

    name: str
    tokens: float
    natural: float
    weight: float
    epochs: float
    removed: float | None = None


def audit(
    weights: Mapping[str, float],
    *,
    tokens: Mapping[str, float],
    drawn_tokens: float,
) -> list[AuditRow]:
    """Returns what each weight means, largest weight first.

    >>> rows = audit({"en": 3.0, "sw": 1.0}, tokens={"en": 900, "sw": 100}, drawn_tokens=800)
    >>> [(row.name, row.natural, row.weight, round(row.epochs, 2)) for row in rows]
    [('en', 0.9, 0.75, 0.67), ('sw', 0.1, 0.25, 2.0)]

    Args:
      weights: `{name: weight of encoder tokens}`, positive, of any sum.
      tokens: `{name: encoder tokens of one pass}`, for every name in `weights`.
      drawn_tokens: encoder tokens that all names together supply in the run, padding not counted.

    Raises:
      DataError: a weight without text.
    """
    missing = sorted(name for name in weights if not tokens.get(name, 0) > 0)
    if missing:
        raise DataError(f"audit: no tokens are known of {', '.join(missing[:5])}")
    total_weight = sum(weights.values())
    total_tokens = sum(tokens[name] for name in weights)
    rows = [
        AuditRow(
            name=name,
            tokens=tokens[name],
            natural=tokens[name] / total_tokens,
            weight=weight / total_weight,
            epochs=weight / total_weight * drawn_tokens / tokens[name],
        )
        for name, weight in weights.items()
    ]
    return sorted(rows, key=lambda row: (-row.weight, row.name))


def audit_table(rows: list[AuditRow], *, limit: int = 0) -> str:
    """Returns the audit as lines of text, with the passes over all of the text at the end.

    Args:
      rows: the audit.
      limit: most lines, the largest weights first; 0 is all. The sums are always of all.
    """
    removed = any(row.removed is not None for row in rows)
    head = f"{'name':24} {'tokens':>18} {'natural':>9} {'weight':>9} {'epochs':>9}"
    lines = [head + (f" {'removed':>9}" if removed else "")]
    lines += [
        f"{row.name:24} {row.tokens:18,.0f} {row.natural:9.3%} {row.weight:9.3%} {row.epochs:9.3f}"
        + (f" {row.removed or 0:9.3%}" if removed else "")
        for row in (rows[:limit] if limit else rows)
    ]
    if 0 < limit < len(rows):
        lines.append(f"... and {len(rows) - limit} more")
    tokens = sum(row.tokens for row in rows)
    drawn = sum(row.epochs * row.tokens for row in rows)
    lines.append(f"{'all':24} {tokens:18,.0f} {1:9.3%} {1:9.3%} {drawn / tokens:9.3f}")
    return "\n".join(lines)
