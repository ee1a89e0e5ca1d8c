"""UniMax: every language the same number of tokens, but none more than a few passes over its text.

Source: "UniMax: Fairer and More Effective Language Sampling for Large-Scale Multilingual
Pretraining" (Chung et al., 2023), algorithm 1; the sampling of umT5.
"""

from collections.abc import Mapping

from nmt5.core.errors import ConfigError, DataError


def unimax_tokens(
    tokens: Mapping[str, float], *, budget_tokens: float, max_epochs: float
) -> dict[str, float]:
    """Shares a budget of tokens equally, with at most `max_epochs` passes over each language.

    From the smallest language to the largest, each gets an equal part of what is left, or its cap
    if that is less; what it cannot use goes to the larger ones.

    >>> unimax_tokens({"sw": 10, "fr": 1000, "en": 9000}, budget_tokens=3000, max_epochs=2)
    {'sw': 20.0, 'fr': 1490.0, 'en': 1490.0}

    If all languages reach their caps, the budget is not used up: train shorter or raise the cap.

    >>> unimax_tokens({"sw": 10, "fr": 20}, budget_tokens=3000, max_epochs=2)
    {'sw': 20.0, 'fr': 40.0}

    Args:
      tokens: `{language: tokens of its text}`.
      budget_tokens: tokens of the whole training.
      max_epochs: most passes over the text of a language.

    Returns:
      `{language: tokens to draw}`, in the order given; divided by their sum they are weights.

    Raises:
      ConfigError: budget or cap is not positive.
      DataError: a language without text.
    """
    if not budget_tokens > 0 or not max_epochs > 0:
        raise ConfigError(
            f"UniMax: budget {budget_tokens} tokens, {max_epochs} epochs; both must be positive"
        )
    empty = sorted(language for language, number in tokens.items() if not number > 0)
    if empty:
        raise DataError(f"UniMax: no text in {', '.join(empty[:5])}; leave these languages out")
    given, left = {}, float(budget_tokens)
    ascending = sorted(tokens, key=lambda language: (tokens[language], language))
    for position, language in enumerate(ascending):
        equal_part = left / (len(ascending) - position)
        given[language] = min(equal_part, float(max_epochs * tokens[language]))
        left -= given[language]
    return {language: given[language] for language in tokens}


def unimax_weights(
    tokens: Mapping[str, float], *, budget_tokens: float, max_epochs: float
) -> dict[str, float]:
    """Returns `unimax_tokens` divided by their sum; arguments and errors are the same."""
    given = unimax_tokens(tokens, budget_tokens=budget_tokens, max_epochs=max_epochs)
    total = sum(given.values())
    return {language: number / total for language, number in given.items()}
