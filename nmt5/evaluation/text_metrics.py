"""Scores of texts against references: BLEU, chrF, chrF++ by sacrebleu, and exact matches.

"spbleu" is BLEU over the pieces of a vocabulary at hand, so it needs no rules for any script. It is
spBLEU's idea with another vocabulary than FLORES's, so its numbers compare only among themselves;
the signature names the vocabulary.

Where a sentence has several right texts all count: BLEU clips n-grams by their highest count in any
of them, chrF takes the nearest, an exact match is of any.

A score comes with sacrebleu's signature, an interval over sentences, and, for two systems on the
same sentences, the paired difference. All numbers are plain floats in 0 .. 100.
"""

from collections.abc import Callable, Sequence
import dataclasses
import itertools
from typing import Any

import numpy as np

from nmt5.core.bleu_tokenizers import bleu_tokenizer
from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.evaluation.bootstrap import Difference, Interval, difference, draw_weights, interval

METRICS = ("bleu", "chrf", "chrf++", "exact_match", "spbleu")


@dataclasses.dataclass(frozen=True)
class TextScore:
    """One metric on one set of sentences.

    Attributes:
      metric: a name of `METRICS`.
      interval: the score and its interval over sentences.
      num_sentences: how many.
      signature: what a reader needs to get the same number.
    """

    metric: str
    interval: Interval
    num_sentences: int
    signature: str

    def to_json(self) -> dict[str, Any]:
        """Returns value, low, high, num_sentences and signature."""
        return self.interval.to_json() | {
            "num_sentences": self.num_sentences,
            "signature": self.signature,
        }


def score_texts(
    predictions: Sequence[str],
    *,
    references: Sequence[str | Sequence[str]],
    metric: str,
    language: str,
    tokenizer: str | None = None,
    num_draws: int = 1000,
    seed: int = 0,
    pieces: Callable[[str], Sequence[str]] | None = None,
) -> TextScore:
    """Scores predictions against their references.

    Args:
      predictions: texts of a system.
      references: the right text of each, or all its right texts, in the same order.
      metric: "bleu", "chrf" (chrF2), "chrf++", "exact_match" (after removing outer spaces) or
        "spbleu".
      language: the language of the texts; chooses BLEU's tokenizer.
      tokenizer: sacrebleu's name of another tokenizer, for example "intl", which t5 uses.
      num_draws: draws of sentences for the interval.
      seed: of the draws.
      pieces: text -> pieces of a vocabulary, for "spbleu".

    Returns:
      The score.

    Raises:
      ConfigError: unknown metric or tokenizer, or "spbleu" without a vocabulary.
      DataError: no sentences, or unequal numbers of them.
    """
    stats, aggregate, signature = sentence_counts(
        predictions,
        references,
        metric=metric,
        language=language,
        tokenizer=tokenizer,
        pieces=pieces,
    )
    weights = draw_weights(len(stats), num_draws=num_draws, seed=seed)
    value = aggregate(stats.sum(axis=0))
    draws = np.array([aggregate(row) for row in weights @ stats])
    drawn = f"|bootstrap:{num_draws},seed:{seed}"
    return TextScore(metric, interval(value, draws), len(stats), signature + drawn)


def compare_texts(
    first: Sequence[str],
    *,
    second: Sequence[str],
    references: Sequence[str | Sequence[str]],
    metric: str,
    language: str,
    tokenizer: str | None = None,
    num_draws: int = 1000,
    seed: int = 0,
    pieces: Callable[[str], Sequence[str]] | None = None,
) -> Difference:
    """Returns the paired difference `second - first` of two systems on the same sentences.

    Arguments and errors as `score_texts`.
    """
    settings = {"metric": metric, "language": language, "tokenizer": tokenizer, "pieces": pieces}
    stats_1, aggregate, _ = sentence_counts(first, references, **settings)
    stats_2, _, _ = sentence_counts(second, references, **settings)
    weights = draw_weights(len(stats_1), num_draws=num_draws, seed=seed)
    pairs = zip(weights @ stats_1, weights @ stats_2, strict=True)
    return difference(
        aggregate(stats_1.sum(axis=0)),
        aggregate(stats_2.sum(axis=0)),
        draws=np.array([aggregate(row_2) - aggregate(row_1) for row_1, row_2 in pairs]),
    )


def accuracy(predictions: Sequence[Any], *, references: Sequence[Any]) -> float:
    """Returns the percentage of predictions that equal their reference; errors as `score_texts`."""
    _check(predictions, references, "accuracy")
    hits = [p == r for p, r in zip(predictions, references, strict=True)]
    return 100.0 * sum(hits) / len(hits)


def sentence_counts(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    metric: str,
    language: str,
    tokenizer: str | None = None,
    pieces: Callable[[str], Sequence[str]] | None = None,
) -> tuple[np.ndarray, Callable[[np.ndarray], float], str]:
    """Returns what each sentence adds (sentences, K), sums (K) -> score, and the signature.

    Arguments and errors as `score_texts`.
    """
    if metric not in METRICS:
        raise ConfigError(f"evaluation: {unknown_name('metric', metric, METRICS)}")
    _check(predictions, references, metric)
    references = [(some,) if isinstance(some, str) else tuple(some) for some in references]
    if metric == "exact_match":
        hits = [
            any(text.strip() == right.strip() for right in some)
            for text, some in zip(predictions, references, strict=True)
        ]
        stats = np.array([[hit, 1] for hit in hits], np.float64)
        return stats, lambda sums: 100.0 * float(sums[0] / sums[1]), "exact_match|strip:yes"

    from sacrebleu.metrics import BLEU, CHRF

    about = ""
    if metric == "spbleu":
        if pieces is None:
            raise ConfigError(
                "evaluation: metric 'spbleu' is over the pieces of a vocabulary, and none is at "
                "hand here; set Workspace.vocabulary, or choose chrf++"
            )
        predictions = [" ".join(pieces(text)) for text in predictions]
        references = [tuple(" ".join(pieces(text)) for text in some) for some in references]
        scorer = BLEU(tokenize="none", force=True)
        about = f"|pieces:{getattr(pieces, 'name', 'given')}"
    elif metric == "bleu":
        chosen = tokenizer or bleu_tokenizer(language)
        if chosen not in BLEU.TOKENIZERS:
            known = BLEU.TOKENIZERS
            raise ConfigError(f"evaluation: {unknown_name('BLEU tokenizer', chosen, known)}")
        scorer = BLEU(tokenize=chosen)
    else:
        scorer = CHRF(word_order=2 if metric == "chrf++" else 0)
    # sacrebleu takes the first references of all sentences, then all second ones, and so on.
    streams = [list(stream) for stream in itertools.zip_longest(*references)]
    # The corpus score once by the public way: it checks the input and completes the signature.
    scorer.corpus_score(list(predictions), streams)
    # sacrebleu's own two halves of `corpus_score`: counts per sentence, and their sum to a score.
    stats = scorer._extract_corpus_statistics(list(predictions), streams)
    return (
        np.array(stats, np.float64),
        lambda sums: float(scorer._compute_score_from_stats(sums.tolist()).score),
        f"{metric}|{scorer.get_signature()}{about}",
    )


def _check(predictions, references, metric):
    if len(predictions) != len(references):
        raise DataError(
            f"{metric}: {len(predictions)} predictions for {len(references)} references; there "
            "must be one for each, in the same order"
        )
    if not predictions:
        raise DataError(f"{metric}: there are no sentences to score")
