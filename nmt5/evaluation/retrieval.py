"""Finding a sentence's translation among all translations by the cosine of two vectors.

For each language the candidates are the messages that have a translation in it. In both directions
every query is one message, and it is a hit if the nearest candidate is right:

    from English   query: the English message      candidates: all translations
    to English     query: one translation          candidates: their English messages

Two messages can have the same translation, and then nobody could tell them apart: a candidate is
right if its English or its translated text is that of the query's message. Of candidates that are
equally near (within 1e-6) each counts in part, so that a model whose vectors are all alike scores
chance level. A language's accuracy is the mean of both directions; chance level is the mean share
of right candidates. Intervals draw messages, the same ones in all languages and models, out of the
fixed candidates.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from nmt5.core.errors import DataError
from nmt5.evaluation.bootstrap import Difference, Interval, difference, draw_weights, interval

DIRECTIONS = ("from_english", "to_english")
_TIE = 1e-6


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """What was found.

    Attributes:
      messages: the English messages, in order.
      hits: per language float64 (messages, 2): share of a hit from and to English, NaN where the
        language has no translation.
      chance: per language the expected accuracy of drawing a candidate blindly.
    """

    messages: tuple[str, ...]
    hits: Mapping[str, np.ndarray]
    chance: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-able form that `from_json` reads."""
        hits = {
            language: [[None if np.isnan(h) else float(h) for h in pair] for pair in hits_M2]
            for language, hits_M2 in self.hits.items()
        }
        return {"messages": list(self.messages), "hits": hits, "chance": dict(self.chance)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Retrieval":
        """Returns what `to_json` gave."""
        hits = {name: np.array(pairs, np.float64) for name, pairs in value["hits"].items()}
        return cls(tuple(value["messages"]), hits, dict(value["chance"]))


def find_translations(
    encode: Callable[[Sequence[str]], np.ndarray],
    *,
    messages: Mapping[str, Mapping[str, str]],
    min_messages: int = 2,
    centre: bool = False,
) -> Retrieval:
    """Retrieves every translation from and to English, in all languages.

    Args:
      encode: texts -> vectors (texts, D); called once with all distinct texts.
      messages: `{English message: {language: translation}}`.
      min_messages: languages with fewer translations are left out.
      centre: subtract from each vector the mean vector of its language's candidates; say so
        beside the score.

    Returns:
      The hits.

    Raises:
      DataError: no language has enough messages.
    """
    english = sorted(messages)
    counts: dict[str, int] = {}
    for translations in messages.values():
        for language in translations:
            counts[language] = counts.get(language, 0) + 1
    languages = sorted(name for name, count in counts.items() if count >= min_messages)
    if not languages:
        raise DataError(
            f"retrieval: {len(english)} messages, but no language has {min_messages} translations; "
            "give more held-out text or lower min_messages"
        )
    texts = sorted({*english, *(t for row in messages.values() for t in row.values())})
    row_of = {text: row for row, text in enumerate(texts)}
    vectors_ND = encode(texts)
    hits, chance = {}, {}
    for language in languages:
        chosen = [i for i, message in enumerate(english) if language in messages[message]]
        sources = [english[i] for i in chosen]
        targets = [messages[message][language] for message in sources]
        hits_C2, chance[language] = nearest_hits(
            vectors_ND[[row_of[text] for text in sources]],
            vectors_ND[[row_of[text] for text in targets]],
            sources=sources,
            targets=targets,
            centre=centre,
        )
        hits[language] = np.full((len(english), 2), np.nan)
        hits[language][chosen] = hits_C2
    return Retrieval(tuple(english), hits, chance)


def nearest_hits(
    sources_CD: np.ndarray,
    targets_CD: np.ndarray,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    centre: bool = False,
) -> tuple[np.ndarray, float]:
    """Scores one language; row i of both sides is one message.

    Args:
      sources_CD: vectors of the English messages.
      targets_CD: vectors of the translations.
      sources: the English messages.
      targets: the translations.
      centre: as in `find_translations`.

    Returns:
      Hits (C, 2) from and to English, and the chance level.
    """
    similar_CC = _unit(sources_CD, centre) @ _unit(targets_CD, centre).T
    _, source_ids = np.unique(np.array(sources, object), return_inverse=True)
    _, target_ids = np.unique(np.array(targets, object), return_inverse=True)
    right_CC = (source_ids[:, None] == source_ids) | (target_ids[:, None] == target_ids)
    hits = []
    for scores_CC in (similar_CC, similar_CC.T):
        nearest_CC = scores_CC >= scores_CC.max(axis=1, keepdims=True) - _TIE
        hits.append((nearest_CC & right_CC).sum(axis=1) / nearest_CC.sum(axis=1))
    return np.stack(hits, axis=1), float(right_CC.mean())


def _unit(vectors_CD: np.ndarray, centre: bool) -> np.ndarray:
    vectors_CD = vectors_CD.astype(np.float64)
    if centre:
        vectors_CD = vectors_CD - vectors_CD.mean(axis=0, keepdims=True)
    norms_C1 = np.linalg.norm(vectors_CD, axis=1, keepdims=True)
    return vectors_CD / np.maximum(norms_C1, 1e-12)


@dataclasses.dataclass(frozen=True)
class RetrievalScores:
    """Accuracies in percent.

    Attributes:
      languages: per language the accuracy of both directions together.
      directions: per language the accuracy of each direction.
      num_messages: per language the number of candidates.
      macro: the mean over languages.
      macro_chance: the mean chance level, in percent.
    """

    languages: dict[str, Interval]
    directions: dict[str, dict[str, float]]
    num_messages: dict[str, int]
    macro: Interval
    macro_chance: float


def retrieval_scores(found: Retrieval, *, num_draws: int = 1000, seed: int = 0) -> RetrievalScores:
    """Returns accuracies with intervals over messages."""
    weights = draw_weights(len(found.messages), num_draws=num_draws, seed=seed)
    values, draws_LR = _accuracies(found, weights)
    names = list(found.hits)
    directions = {}
    for name in names:
        from_english, to_english = 100 * np.nanmean(found.hits[name], axis=0)
        means = (float(from_english), float(to_english))
        directions[name] = dict(zip(DIRECTIONS, means, strict=True))
    return RetrievalScores(
        languages={n: interval(values[i], draws_LR[i]) for i, n in enumerate(names)},
        directions=directions,
        num_messages={n: int((~np.isnan(found.hits[n][:, 0])).sum()) for n in names},
        macro=interval(values.mean(), _mean_over_languages(draws_LR)),
        macro_chance=100 * float(np.mean([found.chance[n] for n in names])),
    )


def compare_retrieval(
    first: Retrieval, *, second: Retrieval, num_draws: int = 1000, seed: int = 0
) -> tuple[Difference, dict[str, Difference]]:
    """Compares two models on the same messages and languages.

    Returns:
      `second - first` in points of accuracy, averaged over languages, and per language.

    Raises:
      DataError: they were not scored on the same messages and languages.
    """
    same_gaps = first.hits.keys() == second.hits.keys() and all(
        np.array_equal(np.isnan(first.hits[n]), np.isnan(second.hits[n])) for n in first.hits
    )
    if first.messages != second.messages or not same_gaps:
        raise DataError(
            f"retrieval: models were scored on different text ({len(first.messages)} messages in "
            f"{len(first.hits)} languages, {len(second.messages)} in {len(second.hits)}); evaluate "
            "both with the same settings"
        )
    weights = draw_weights(len(first.messages), num_draws=num_draws, seed=seed)
    names = list(first.hits)
    values_1, draws_1 = _accuracies(first, weights)
    values_2, draws_2 = _accuracies(
        Retrieval(first.messages, {n: second.hits[n] for n in names}, second.chance), weights
    )
    macro = difference(
        values_1.mean(),
        values_2.mean(),
        draws=_mean_over_languages(draws_2) - _mean_over_languages(draws_1),
    )
    each = {
        name: difference(values_1[i], values_2[i], draws=draws_2[i] - draws_1[i])
        for i, name in enumerate(names)
    }
    return macro, each


def _accuracies(found: Retrieval, weights_RM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns accuracies in percent (languages,), and of each draw (languages, draws)."""
    hits_LM = np.stack([hits_M2.mean(axis=1) for hits_M2 in found.hits.values()])
    present_LM = ~np.isnan(hits_LM)
    sums_LR = np.where(present_LM, hits_LM, 0.0) @ weights_RM.T
    counts_LR = present_LM.astype(np.float64) @ weights_RM.T
    draws_LR = np.divide(
        100 * sums_LR, counts_LR, out=np.full_like(sums_LR, np.nan), where=counts_LR > 0
    )
    return 100 * np.nanmean(hits_LM, axis=1), draws_LR


def _mean_over_languages(draws_LR: np.ndarray) -> np.ndarray:
    """Averages each draw over the languages of which it has a message."""
    present_LR = ~np.isnan(draws_LR)
    sums_R = np.where(present_LR, draws_LR, 0.0).sum(axis=0)
    return sums_R / np.maximum(present_LR.sum(axis=0), 1)
