"""Sampling of language pairs under wanted shares of languages, for many-to-many bitext.

Given a table Q of how much text each direction has and a marginal per language, find P, the share
of each direction, whose rows and columns both sum to the marginals. Two objectives from "Beyond
English-Centric Bitexts for Better Multilingual Language Representation Learning" (Patra et al.,
2023), section on sampling:

- M2M-100's Sinkhorn temperature sampling: maximise Tr(P Q), a transport problem with sparse result;
- its entropic form: cost -log(Q + eps), entropy weight 1, so P = diag(u) (Q + eps) diag(v).

Both need that a language's text is spread over its pairs: tables with one common language (English)
cannot meet temperature-scaled marginals, which is reported as an error.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from nmt5.core.errors import ConfigError, DataError

_TOLERANCE = 1e-6
# Most mass, of all, that may fall on directions without text.
MAX_LOST = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSampling:
    """How often each direction is drawn.

    Attributes:
      languages: order of rows (source) and columns (target).
      weights: float array (languages, languages), sums to 1, 0 where there is no text.
      lost: `{language: part of its marginal that fell on directions without text}`, before
        renormalising.
    """

    languages: tuple[str, ...]
    weights: np.ndarray
    lost: Mapping[str, float]

    def of_pairs(self) -> dict[tuple[str, str], float]:
        """Returns `{(source, target): weight}` of all directions that are drawn."""
        return {
            (self.languages[i], self.languages[j]): float(self.weights[i, j])
            for i, j in zip(*np.nonzero(self.weights), strict=True)
        }


def pair_table(
    counts: Mapping[tuple[str, str], float],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the languages and the symmetric table Q of counts, divided by its sum.

    >>> languages, table = pair_table({("en", "fr"): 3, ("fr", "sw"): 1})
    >>> languages, table.tolist()
    (('en', 'fr', 'sw'), [[0.0, 0.375, 0.0], [0.375, 0.0, 0.125], [0.0, 0.125, 0.0]])

    Args:
      counts: `{(language, language): sentence pairs}`, each pair in one order.

    Raises:
      DataError: no text, a pair of a language with itself, or a pair in both orders.
    """
    languages = tuple(sorted({language for pair in counts for language in pair}))
    at = {language: i for i, language in enumerate(languages)}
    table = np.zeros((len(languages), len(languages)))
    for (a, b), number in counts.items():
        if a == b or number < 0:
            raise DataError(f"pair counts: {a}-{b}: {number}; expected two languages, at least 0")
        if (b, a) in counts:
            raise DataError(f"pair counts: {a}-{b} is listed in both orders; list it once")
        table[at[a], at[b]] = table[at[b], at[a]] = number
    if not table.sum() > 0:
        raise DataError("pair counts: no pair has any text")
    return languages, table / table.sum()


def language_marginals(table: np.ndarray, *, temperature: float) -> np.ndarray:
    """Returns the wanted share of each language, p^(1/T) / sum, p its share of the text.

    Raises:
      ConfigError: a temperature below 1.
    """
    if not temperature >= 1:
        raise ConfigError(f"sinkhorn: temperature {temperature}, expected at least 1")
    shares = table.sum(axis=1) ** (1 / temperature)
    return shares / shares.sum()


def entropic_plan(
    table: np.ndarray,
    marginals: np.ndarray,
    *,
    epsilon: float = 1e-12,
    max_iterations: int = 100_000,
) -> np.ndarray:
    """Returns P = diag(u) (Q + eps) diag(v) whose rows and columns sum to the marginals.

    Args:
      table: Q, symmetric, shape (languages, languages).
      marginals: wanted sums, shape (languages,), sum 1.
      epsilon: what a direction without text counts.
      max_iterations: when to give up.

    Returns:
      float array of Q's shape; its sums differ from the marginals by at most 1e-6.

    Raises:
      DataError: the iteration does not converge.
    """
    kernel = table + epsilon
    scale = np.ones(len(marginals))
    for _ in range(max_iterations):
        # Q is symmetric, so u = v; the geometric mean of two Sinkhorn half-steps keeps it so.
        updated = np.sqrt(scale * marginals / (kernel @ scale))
        plan = updated[:, None] * kernel * updated[None, :]
        scale = updated
        if np.abs(plan.sum(axis=1) - marginals).max() < _TOLERANCE / 10:
            return plan
    worst = np.abs(plan.sum(axis=1) - marginals).max()
    raise DataError(
        f"sinkhorn: marginals are met to {worst:.1e} after {max_iterations} iterations, expected "
        "1e-6; use a larger epsilon or alpha sampling"
    )


def transport_plan(table: np.ndarray, marginals: np.ndarray) -> np.ndarray:
    """Returns the P that maximises Tr(P Q) under the marginals: sparse, and symmetric as Q is.

    Args:
      table: Q, symmetric, shape (languages, languages).
      marginals: wanted sums, shape (languages,), sum 1.

    Raises:
      DataError: the linear program has no solution.
    """
    from scipy import optimize, sparse

    size = len(marginals)
    identity, ones = sparse.identity(size), np.ones((1, size))
    sums = sparse.vstack([sparse.kron(identity, ones), sparse.kron(ones, identity)]).tocsr()
    # HiGHS takes coefficients below 1e-9 of the largest for 0, hence the scale.
    found = optimize.linprog(
        -(table / table.max()).ravel(),
        A_eq=sums,
        b_eq=np.concatenate([marginals, marginals]),
        bounds=(0, None),
        method="highs",
    )
    if found.x is None:
        raise DataError(f"sinkhorn: no plan meets the marginals ({found.message})")
    plan = found.x.reshape(size, size)
    return (plan + plan.T) / 2


def pair_sampling(
    counts: Mapping[tuple[str, str], float],
    *,
    temperature: float,
    entropic: bool = False,
    max_lost: float = MAX_LOST,
) -> PairSampling:
    """Returns the share of each direction; only directions with text have one.

    Args:
      counts: `{(language, language): sentence pairs}`, each pair in one order.
      temperature: 1 keeps the languages' shares of the text, more makes them alike.
      entropic: the entropic form instead of the sparse maximum.
      max_lost: most mass, of all, that may fall on directions without text.

    Raises:
      DataError: the table cannot meet the marginals of some languages, which are named.
      ConfigError: temperature out of range.
    """
    languages, table = pair_table(counts)
    marginals = language_marginals(table, temperature=temperature)
    plan = entropic_plan(table, marginals) if entropic else transport_plan(table, marginals)
    empty = np.where(table > 0, 0.0, plan)
    lost = empty.sum(axis=1) / marginals
    if empty.sum() > max_lost:
        raise DataError(_unmet(languages, lost, total=empty.sum(), temperature=temperature))
    kept = np.where(table > 0, plan, 0.0)
    return PairSampling(
        languages=languages,
        weights=kept / kept.sum(),
        lost=dict(zip(languages, lost.tolist(), strict=True)),
    )


def _unmet(languages: Sequence[str], lost: np.ndarray, *, total: float, temperature: float) -> str:
    worst = np.argsort(-lost)[:5]
    named = ", ".join(f"{languages[i]} ({lost[i]:.0%})" for i in worst if lost[i] > 0)
    return (
        f"sinkhorn: at temperature {temperature}, {total:.1%} of the draws fall on directions "
        f"without text; the table cannot meet the shares of {named}. Lower the temperature, or "
        "use alpha sampling, as for any table with one common language"
    )
