"""Exact match and F1 of answers: as SQuAD and MLQA publish them, and by a language's tokens."""

from collections import Counter
from collections.abc import Callable, Sequence
import functools
import re
import string
import unicodedata

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.scores.counted import CountedMetric, means
from nmt5.evaluation.scores.language_tokens import language_tokens

_ENGLISH_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)

# MLQA's lists of words to drop; not all of Vietnamese's are articles.
_MLQA_ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": "\\sال^|ال",
    "hi": None,
    "zh": None,
}
MLQA_LANGUAGES = tuple(_MLQA_ARTICLES)


def squad_tokens(text: str, language: str) -> list[str]:
    """Returns SQuAD's tokens: lower case, no ASCII punctuation, no English articles, by blanks.

    >>> squad_tokens("The 3 , 5 km", "en"), squad_tokens("北京市。", "zh")
    (['3', '5', 'km'], ['北京市。'])
    """
    del language
    text = text.lower().translate(_NO_ASCII_PUNCTUATION)
    return _ENGLISH_ARTICLES.sub(" ", text).split()


def mlqa_tokens(text: str, language: str) -> list[str]:
    """Returns MLQA's tokens: no punctuation of any script, each language's articles, Han apart.

    >>> mlqa_tokens("Der Kölner Dom!", "de"), mlqa_tokens("北京 2008年", "zh")
    (['kölner', 'dom'], ['北', '京', '2008', '年'])

    Source: https://github.com/google-research/multilingual-t5/blob/9dcd60fc/multilingual_t5/evaluation/metrics.py
    (`normalize_mlqa`).

    Raises:
      ConfigError: a language that MLQA does not have.
    """
    if language not in _MLQA_ARTICLES:
        known = unknown_name("language", language, MLQA_LANGUAGES)
        raise ConfigError(f"mlqa: {known}; question_tokens has no such limit")
    text = "".join(c for c in text.lower() if not _is_punctuation(c))
    articles = _MLQA_ARTICLES[language]
    if articles:
        text = re.sub(articles, " ", text)
    if language == "zh":
        text = re.sub("([\u4e00-\u9fa5])", r" \1 ", text)
    return text.split()


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] == "P"


def answer_scores(
    prediction: str,
    references: Sequence[str],
    language: str,
    *,
    tokens: Callable[[str, str], list[str]],
) -> tuple[float, float, float]:
    """Returns exact match, bag-of-tokens F1 (each the best over references), and 1.

    Where both have no token left they match. t5's function gives F1 0 and EM 1 there, so that a
    right answer like `%` or `the` cannot score 100.
    """
    predicted = tokens(prediction, language)
    exact, best = 0.0, 0.0
    for reference in references:
        expected = tokens(reference, language)
        if predicted == expected:
            exact = best = 1.0
            break
        common = sum((Counter(predicted) & Counter(expected)).values())
        if common:
            best = max(best, 2.0 * common / (len(predicted) + len(expected)))
    return exact, best, 1.0


SQUAD = CountedMetric(
    name="squad",
    signature="squad|tokens:whitespace|articles:en|punctuation:ascii|case:lower|best-reference",
    count=functools.partial(answer_scores, tokens=squad_tokens),
    results=means(("em", "f1")),
    main="f1",
)
MLQA = CountedMetric(
    name="mlqa",
    signature="mlqa|tokens:mlqa|articles:by-language|punctuation:unicode|case:lower|best-reference",
    count=functools.partial(answer_scores, tokens=mlqa_tokens),
    results=means(("mlqa_em", "mlqa_f1")),
    main="mlqa_f1",
)
QUESTION_TOKENS = CountedMetric(
    name="question_tokens",
    signature="question_tokens|tokens:language|nfkc|case:folded|best-reference",
    count=functools.partial(
        answer_scores, tokens=lambda text, language: language_tokens(text, language=language)
    ),
    results=means(("em_tokens", "f1_tokens")),
    main="f1_tokens",
)
