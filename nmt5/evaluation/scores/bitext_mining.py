"""Retrieval accuracy (Tatoeba) and mining F1 (BUCC) of sentence vectors.

No training: vectors are the encoder's states, averaged over tokens. BUCC's threshold is chosen on
its training split and used unchanged on the other.

Intervals of the mining scores draw source sentences again, each with the pair that was mined for it
and the true pairs that it has; threshold and candidates stay as they are.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from nmt5.core.errors import DataError
from nmt5.evaluation.bootstrap import Interval, draw_sums, interval
from nmt5.evaluation.scores.counted import percentage

# Rows of the similarity matrix held at a time: 150,000 BUCC targets x 512 x 4 bytes = 0.3 GB.
_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class MiningScores:
    """Percentages of mined pairs, with intervals over the source sentences.

    Attributes:
      f1: of mined and true pairs.
      precision: share of mined pairs that are true; 0 where none was mined.
      recall: share of true pairs that were mined.
      threshold: the similarity from which a pair counts as mined.
    """

    f1: Interval
    precision: Interval
    recall: Interval
    threshold: float


def retrieved(
    sources_ND: np.ndarray,
    targets_MD: np.ndarray,
    *,
    targets: Sequence[str],
    right: Sequence[int],
) -> list[int]:
    """Returns the index of each source's nearest target (cosine).

    Arguments and errors as `retrieval_accuracy`.
    """
    if len(sources_ND) != len(right) or len(targets_MD) != len(targets):
        raise DataError(
            f"retrieval: {len(sources_ND)} query vectors for {len(right)} sentences, "
            f"{len(targets_MD)} candidate vectors for {len(targets)}; encode the same files"
        )
    return nearest(sources_ND, targets_MD)[0].tolist()


def retrieval_accuracy(
    sources_ND: np.ndarray,
    targets_MD: np.ndarray,
    *,
    targets: Sequence[str],
    right: Sequence[int],
) -> float:
    """Returns the percentage of sources whose nearest target (cosine) has the right text.

    Tatoeba's English sentences repeat; finding another copy of the right one is right.

    Args:
      sources_ND: vectors of the queries.
      targets_MD: vectors of the candidates.
      targets: the candidates' texts.
      right: for each query the index of its translation.

    Raises:
      DataError: lengths differ, nothing to search, or vectors that are not finite.
    """
    found = retrieved(sources_ND, targets_MD, targets=targets, right=right)
    hits = [targets[i] == targets[j] for i, j in zip(found, right, strict=True)]
    return 100.0 * sum(hits) / len(hits)


def nearest(sources_ND: np.ndarray, targets_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each source the index of the nearest target and their cosine, float32.

    Raises:
      DataError: no vectors, or one that is not finite.
    """
    if not len(sources_ND) or not len(targets_MD):
        raise DataError("retrieval: no sentences to search; the split is empty")
    sources_ND, targets_MD = _unit(sources_ND), _unit(targets_MD)
    indices, cosines = [], []
    for start in range(0, len(sources_ND), _BLOCK):
        similarity_BM = sources_ND[start : start + _BLOCK] @ targets_MD.T
        best = similarity_BM.argmax(axis=1)
        indices.append(best)
        cosines.append(np.take_along_axis(similarity_BM, best[:, None], axis=1)[:, 0])
    return np.concatenate(indices), np.concatenate(cosines)


def mine(
    sources_ND: np.ndarray,
    targets_MD: np.ndarray,
    *,
    pairs: Sequence[tuple[int, int]],
    threshold: float | None = None,
    num_draws: int = 1000,
    seed: int = 0,
) -> MiningScores:
    """Mines the pairs (source, its nearest target) from a similarity on, and scores them.

    Args:
      sources_ND: vectors of the source sentences.
      targets_MD: vectors of the English sentences.
      pairs: the true pairs (source, target).
      threshold: the least cosine of a mined pair; None chooses the one with the best F1 on these
        pairs, which is right on a training split only.
      num_draws: draws of source sentences for the intervals.
      seed: of the draws.

    Returns:
      The scores at the threshold.

    Raises:
      DataError: no true pairs, no sentences, or vectors that are not finite.
    """
    if not pairs:
        raise DataError("mining: no true pairs; this split has no gold file")
    found, cosines = nearest(sources_ND, targets_MD)
    truth = set(pairs)
    right = np.array([pair in truth for pair in enumerate(found.tolist())])
    order = np.argsort(-cosines, kind="stable")
    mined = np.arange(1, len(order) + 1)
    hits = np.cumsum(right[order])
    f1 = 2.0 * hits / (mined + len(truth))
    # A threshold cannot part equal cosines: only the last of a run can be chosen.
    sorted_cosines = cosines[order]
    last_of_run = np.append(sorted_cosines[1:] != sorted_cosines[:-1], True)
    if threshold is None:
        best = int(np.argmax(np.where(last_of_run, f1, -1.0)))
        threshold = float(sorted_cosines[best])
    is_mined = cosines >= np.float32(threshold)
    true_pairs = np.bincount([source for source, _ in truth], minlength=len(found))
    counts_N3 = np.stack([right & is_mined, is_mined, true_pairs], axis=1).astype(np.float64)
    values = _shares(counts_N3.sum(axis=0))
    drawn = _shares(draw_sums(counts_N3, num_draws=num_draws, seed=seed))
    intervals = {name: interval(float(value), drawn[name]) for name, value in values.items()}
    return MiningScores(threshold=threshold, **intervals)


def _shares(sums_X3: np.ndarray) -> dict[str, np.ndarray]:
    """Returns scores of sums of right, mined and true pairs."""
    right, mined, true = (sums_X3[..., column] for column in range(3))
    return {
        "f1": percentage(2 * right, mined + true),
        "precision": percentage(right, mined, if_none=0.0),
        "recall": percentage(right, true),
    }


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    vectors_ND = np.asarray(vectors_ND, np.float32)
    if not np.isfinite(vectors_ND).all():
        raise DataError("retrieval: a sentence vector is not finite; the checkpoint is damaged")
    norms_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND / np.where(norms_N1 == 0, 1, norms_N1)
