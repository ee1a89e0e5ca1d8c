"""What language sampling makes of tables of counts alone, without corpora or a mixture."""

from collections import defaultdict
from collections.abc import Mapping
import dataclasses

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.data.count_tables import Counts
from nmt5.data.definitions import (
    DEFAULT_ALPHA,
    SAMPLINGS,
    SINKHORN,
    SINKHORN_ENTROPIC,
    UNIMAX,
)
from nmt5.data.language_sampling import alpha_weights, capped_shares
from nmt5.data.sampling_audit import AuditRow, audit
from nmt5.data.sinkhorn import pair_sampling


@dataclasses.dataclass(frozen=True)
class TableAudit:
    """The audit of one kind of entries, languages or pairs.

    Attributes:
      title: what the lines are.
      rows: a line per language or pair.
      note: how many of them are drawn; empty if all are.
    """

    title: str
    rows: list[AuditRow]
    note: str = ""


def audit_counts(
    counts: Counts,
    *,
    sampling: str,
    alpha: float | None,
    temperature: float | None,
    max_epochs: float | None,
    drawn: float | None,
) -> list[TableAudit]:
    """Returns the audit of a table's languages, of its pairs, and of the languages of its pairs.

    Args:
      counts: the table.
      sampling: as `MixtureDefinition.sampling`.
      alpha: as `MixtureDefinition.alpha`.
      temperature: as `MixtureDefinition.temperature`.
      max_epochs: most passes over an entry.
      drawn: what a run draws, in the table's unit; None is as much as there is.

    Raises:
      ConfigError: an unknown sampling, both alpha and temperature, or one of them out of range.
      DataError: an empty entry, caps that leave nothing, or a table that cannot meet the wanted
        shares of languages.
    """
    if sampling not in SAMPLINGS:
        raise ConfigError("sampling: " + unknown_name("sampling", sampling, SAMPLINGS))
    if alpha is not None and temperature is not None:
        raise ConfigError(f"sampling: alpha {alpha} and temperature {temperature}; give one")
    if temperature is not None and not temperature >= 1:
        raise ConfigError(f"sampling: temperature {temperature}, expected at least 1")
    if temperature is not None:
        alpha = 1 / temperature
    exponent = DEFAULT_ALPHA if alpha is None else alpha
    if sampling == UNIMAX:
        if max_epochs is None:
            raise ConfigError("sampling: 'unimax' needs max_epochs")
        exponent = 0.0
    audits = []
    languages = {k[0]: n for k, n in counts.items() if len(k) == 1}
    pairs = {(k[0], k[1]): n for k, n in counts.items() if len(k) == 2}
    if languages:
        weights = _weights(languages, exponent=exponent, max_epochs=max_epochs, drawn=drawn)
        audits.append(TableAudit("languages", _rows(weights, languages, drawn=drawn)))
    if pairs:
        audits += _of_pairs(
            pairs, sampling=sampling, exponent=exponent, max_epochs=max_epochs, drawn=drawn
        )
    return audits


def _of_pairs(
    pairs: Mapping[tuple[str, str], float],
    *,
    sampling: str,
    exponent: float,
    max_epochs: float | None,
    drawn: float | None,
) -> list[TableAudit]:
    names = {"-".join(pair): pair for pair in pairs}
    amounts = {name: pairs[pair] for name, pair in names.items()}
    removed: Mapping[str, float] = {}
    if sampling in (SINKHORN, SINKHORN_ENTROPIC):
        if not exponent > 0:
            raise ConfigError(f"sampling: alpha 0 with '{sampling}', expected above 0")
        found = pair_sampling(
            pairs, temperature=1 / exponent, entropic=sampling == SINKHORN_ENTROPIC
        )
        directions, removed = found.of_pairs(), found.lost
        weights = {
            name: directions.get(pair, 0.0) + directions.get(pair[::-1], 0.0)
            for name, pair in names.items()
        }
    else:
        weights = _weights(amounts, exponent=exponent, max_epochs=max_epochs, drawn=drawn)
    rows = _rows(weights, amounts, drawn=drawn)
    unused = sum(not row.weight > 0 for row in rows)
    note = f"{len(rows) - unused} of {len(rows)} pairs are drawn, {unused} never" if unused else ""
    total, shares = sum(weights.values()), defaultdict(float)
    text: dict[str, float] = defaultdict(float)
    for name, pair in names.items():
        for language in pair:
            shares[language] += weights[name] / total / 2
            text[language] += amounts[name] / 2
    by_language = [
        dataclasses.replace(row, removed=removed.get(row.name))
        for row in _rows(shares, text, drawn=drawn)
    ]
    return [TableAudit("pairs", rows, note), TableAudit("languages of the pairs", by_language)]


def _weights(
    amounts: Mapping[str, float],
    *,
    exponent: float,
    max_epochs: float | None,
    drawn: float | None,
) -> dict[str, float]:
    weights = alpha_weights(amounts, languages={name: name for name in amounts}, alpha=exponent)
    if max_epochs is None:
        return weights
    total = sum(amounts.values()) if drawn is None else drawn
    caps = {name: max_epochs * amount / total for name, amount in amounts.items()}
    return capped_shares(weights, caps=caps)


def _rows(
    weights: Mapping[str, float], amounts: Mapping[str, float], *, drawn: float | None
) -> list[AuditRow]:
    total = sum(amounts.values()) if drawn is None else drawn
    return audit(weights, tokens=amounts, drawn_tokens=total)
