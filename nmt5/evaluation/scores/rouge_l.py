"""ROUGE-L by rouge_score, with tokens that exist in every script.

rouge_score's own tokenizer keeps ASCII letters and digits only: two equal Russian texts score 0.
For English it is kept, since the published scores use it; every other language is split by
`language_tokens`.
"""

from collections.abc import Sequence
import functools
from typing import Any

from nmt5.evaluation.scores.counted import CountedMetric, means
from nmt5.evaluation.scores.language_tokens import language_tokens


class _LanguageTokenizer:
    """The object that `RougeScorer(tokenizer=...)` expects."""

    def __init__(self, language: str):
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        """Returns all tokens, articles included."""
        return language_tokens(text, language=self.language, drop_articles=False)


@functools.lru_cache(maxsize=64)
def _scorer(language: str) -> Any:
    from rouge_score import rouge_scorer

    english = language.replace("_", "-").split("-")[0] == "en"
    tokenizer = None if english else _LanguageTokenizer(language)
    return rouge_scorer.RougeScorer(["rougeL"], tokenizer=tokenizer)


def _rouge_l(prediction: str, references: Sequence[str], language: str) -> tuple[float, ...]:
    scorer = _scorer(language)
    best = max(scorer.score(text, prediction)["rougeL"].fmeasure for text in references)
    return best, 1


ROUGE_L = CountedMetric(
    name="rouge_l",
    signature="rouge_l|f-measure|tokens:rouge_score(en),language(others)|stemmer:no|mean",
    count=_rouge_l,
    results=means(("rouge_l",)),
    main="rouge_l",
)
