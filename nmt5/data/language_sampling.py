"""How often each language is drawn: counts in, weights out, no files and no SeqIO."""

from collections import defaultdict
from collections.abc import Hashable, Mapping

from nmt5.core.errors import ConfigError, DataError


def alpha_weights(
    examples: Mapping[str, float],
    *,
    languages: Mapping[str, Hashable],
    alpha: float,
    amounts: Mapping[Hashable, float] | None = None,
) -> dict[str, float]:
    """Returns weights that sum to 1: a language of n examples weighs n^alpha.

    Tasks of the same language (or direction) share its weight in proportion to their examples.

    >>> alpha_weights({"a": 1, "b": 10000}, languages={"a": "xh", "b": "en"}, alpha=0.5)
    {'a': 0.009900990099009901, 'b': 0.9900990099009901}
    >>> alpha_weights({"a": 3, "b": 1}, languages={"a": "en", "b": "en"}, alpha=0.5)
    {'a': 0.75, 'b': 0.25}

    Args:
      examples: `{task: number of examples}`, documents or sentence pairs, positive.
      languages: `{task: what is balanced}`, a language or a (source, target) direction.
      alpha: 1 keeps the sizes as they are, 0 makes all languages alike.
      amounts: `{language: n}` instead of the sum of its tasks' examples.

    Raises:
      ConfigError: alpha out of range.
      DataError: a task without an example; it can have no weight.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"language sampling: alpha {alpha}, expected 0 <= alpha <= 1")
    if amounts is None:
        amounts = _by_language(examples, languages)
    weights = {language: amounts[language] ** alpha for language in set(languages.values())}
    return shared_weights(examples, languages=languages, weights=weights)


def shared_weights(
    examples: Mapping[str, float],
    *,
    languages: Mapping[str, Hashable],
    weights: Mapping[Hashable, float],
) -> dict[str, float]:
    """Returns weights of tasks that sum to 1, given those of their languages.

    Args:
      examples: `{task: number of examples}`, positive.
      languages: `{task: its language, or direction}`.
      weights: `{language: weight}`, of any sum; its tasks share it by their examples.

    Raises:
      DataError: a task without an example; it can have no weight.
    """
    empty = sorted(task for task, number in examples.items() if not number > 0)
    if empty:
        raise DataError(
            f"language sampling: {len(empty)} tasks have no training example: "
            f"{', '.join(empty[:5])}; take them out of the mixture or give them text"
        )
    of_language = _by_language(examples, languages)
    total = sum(weights[language] for language in of_language)
    return {
        task: weights[languages[task]] / total * number / of_language[languages[task]]
        for task, number in examples.items()
    }


def _by_language(
    examples: Mapping[str, float], languages: Mapping[str, Hashable]
) -> dict[Hashable, float]:
    totals: dict[Hashable, float] = defaultdict(float)
    for task, number in examples.items():
        totals[languages[task]] += number
    return totals


def capped_shares(wanted: Mapping[str, float], *, caps: Mapping[str, float]) -> dict[str, float]:
    """Returns shares that sum to 1, in proportion to `wanted` where a cap allows.

    What a capped name cannot take goes to the others, in proportion. Equal wanted shares give
    UniMax (see `nmt5.data.unimax`).

    >>> wanted = {"sw": 1.0, "fr": 1.0, "en": 1.0}
    >>> capped_shares(wanted, caps={"sw": 0.25, "fr": 9.0, "en": 9.0})
    {'sw': 0.25, 'fr': 0.375, 'en': 0.375}

    Args:
      wanted: `{name: weight}`, positive, of any sum.
      caps: `{name: largest share}`.

    Raises:
      DataError: the caps sum to less than 1.
    """
    if sum(caps[name] for name in wanted) < 1:
        raise DataError(
            f"language sampling: the caps on epochs allow {sum(caps.values()):.3g} of the tokens "
            "that are to be drawn; raise max_epochs, lower budget_tokens or this group's share"
        )
    shares: dict[str, float] = {}
    # In this order every name that a cap binds comes before all that it does not bind.
    order = sorted(wanted, key=lambda name: caps[name] / wanted[name])
    weight_left = sum(wanted.values())
    for name in order:
        left = 1 - sum(shares.values())
        shares[name] = min(caps[name], left * wanted[name] / weight_left)
        weight_left -= wanted[name]
    return {name: shares[name] for name in wanted}


def example_rates(
    weights: Mapping[str, Mapping[str, float]],
    *,
    shares: Mapping[str, float],
    tokens_per_example: Mapping[str, float],
) -> dict[str, float]:
    """Returns rates of examples under which each group supplies its share of encoder tokens.

    Within a group, rates are in proportion to the group's weights. Long examples are worth many
    short ones, so the groups are scaled by their mean length.

    >>> weights = {"mlm": {"a": 1.0}, "nmt": {"b": 0.5, "c": 0.5}}
    >>> tokens = {"a": 1000.0, "b": 10.0, "c": 30.0}
    >>> example_rates(weights, shares={"mlm": 0.9, "nmt": 0.1}, tokens_per_example=tokens)
    {'a': 0.0009, 'b': 0.0025, 'c': 0.0025}

    Args:
      weights: `{group: {task: weight}}`.
      shares: `{group: part of all encoder tokens}`.
      tokens_per_example: `{task: mean encoder tokens of an example}`.
    """
    rates = {}
    for group, of_tasks in weights.items():
        tokens = sum(weight * tokens_per_example[task] for task, weight in of_tasks.items())
        for task, weight in of_tasks.items():
            rates[task] = shares[group] * weight / tokens
    return rates


def token_shares(
    rates: Mapping[str, Mapping[str, float]], *, tokens_per_example: Mapping[str, float]
) -> dict[str, float]:
    """Returns the part of all encoder tokens that each group supplies, given rates of examples.

    The inverse of `example_rates`:

    >>> token_shares({"mlm": {"a": 9.0}, "nmt": {"b": 50.0}}, tokens_per_example={"a": 50, "b": 1})
    {'mlm': 0.9, 'nmt': 0.1}
    """
    tokens = {
        group: sum(rate * tokens_per_example[task] for task, rate in of_tasks.items())
        for group, of_tasks in rates.items()
    }
    total = sum(tokens.values())
    return {group: number / total for group, number in tokens.items()}
