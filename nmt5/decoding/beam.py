"""Beam search under two published length rules: T5X's and that of Hugging Face transformers.

Both keep `beam_size` live sequences, look at the 2 x `beam_size` best continuations of a step, so
that enough remain when the best ones end, and keep the `beam_size` best finished sequences. They
differ in three ways:

                         T5X                              HF
    score of length n    sum log p / ((5 + n) / 6)^alpha  sum log p / n^alpha
    may finish           all 2 x beam_size candidates     the beam_size best candidates
    at the longest       unfinished sequences are given   unfinished sequences compete as if
    length               only if none has finished        they had ended
    stops when           no live one can overtake the     as `early_stopping` says, each source
                         worst finished one               for itself

Source: https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/decoding.py
(`beam_search`); transformers 5.23, `generation/utils.py` (`_beam_search`).
"""

import enum
from typing import Literal, NamedTuple, TypeAlias

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nmt5.decoding.cache import Cache, ReorderFunction, StepFunction, allowed_log_probs
from nmt5.decoding.greedy import Decoded

# As large as T5X's: minus infinity would turn 0 x infinity into NaN.
_NEVER = -1.0e7

EarlyStopping: TypeAlias = Literal["no", "yes", "never"]


class LengthRule(enum.Enum):
    """Whose beam search to follow, see the module's table."""

    T5X = "t5x"
    HF = "hf"


class _Beams(NamedTuple):
    """G sources, E beams each, T positions, position 0 holding the padding that starts a decode."""

    position: Int[Array, ""]
    live_GET: Int[Array, "G E T"]
    live_scores_GE: Float[Array, "G E"]
    done_GET: Int[Array, "G E T"]
    done_scores_GE: Float[Array, "G E"]
    is_done_GE: Bool[Array, "G E"]
    open_G: Bool[Array, "G"]  # HF: whether a source may still improve
    cache: Cache


def beam_search(
    step: StepFunction,
    *,
    cache: Cache,
    reorder: ReorderFunction,
    num_sources: int,
    max_tokens: int,
    num_ids: int,
    eos: int,
    pad: int = 0,
    beam_size: int = 4,
    alpha: float = 0.6,
    rule: LengthRule = LengthRule.T5X,
    early_stopping: EarlyStopping = "no",
) -> Decoded:
    """Finds probable sequences for each source, all beams of all sources in one batch.

    Ids equal those of the named program (for T5X as long as it writes neither padding nor rows
    beyond the vocabulary, which this search cannot write).

    Args:
      step: the model's decoder for one position of `num_sources * beam_size` sequences; the
        beams of a source are neighbours.
      cache: the decoder's cache before the first position, of that many sequences.
      reorder: picks sequences out of a cache.
      num_sources: G.
      max_tokens: the longest output, end of sequence included.
      num_ids: ids of the vocabulary; larger ones are never written.
      eos: id of the end of a sequence.
      pad: id of padding, also the first decoder input.
      beam_size: E; with 1 the ids are those of greedy search, unless ending early scores better.
      alpha: exponent of the length; 0 compares plain sums, larger favours longer outputs.
      rule: whose length rule.
      early_stopping: HF's setting (its False, True and "never"); T5X has none.

    Returns:
      Ids (G, E, T) flattened to (G x E, T), best first within a source, and their scores. With
      T5X's rule a source may have finished fewer than E sequences; the rest is padding with a
      score of about -1e7.
    """
    G, E, V2 = num_sources, beam_size, 2 * beam_size
    if rule is LengthRule.HF:
        penalty = lambda length: jnp.power(length * 1.0, alpha)  # noqa: E731
    else:
        penalty = lambda length: jnp.power((5.0 + length) / 6.0, alpha)  # noqa: E731

    def best(scores_GX: Float[Array, "G X"], count: int) -> Int[Array, "G C"]:
        indices_GC = lax.top_k(scores_GX, count)[1]
        # T5X keeps its beams worst first; the order decides between equal scores.
        return jnp.flip(indices_GC, axis=1) if rule is LengthRule.T5X else indices_GC

    def extend(beams: _Beams) -> _Beams:
        last_N = beams.live_GET[:, :, beams.position].reshape(-1)
        logits_NV, cache = step(last_N, beams.cache)
        log_probs_NV = allowed_log_probs(logits_NV, num_ids=num_ids, pad=pad)
        vocab = log_probs_NV.shape[-1]
        sums_GEV = log_probs_NV.reshape(G, E, vocab) + beams.live_scores_GE[:, :, None]

        sums_GX, flat_GX = lax.top_k(sums_GEV.reshape(G, E * vocab), V2)
        # With a tiny vocabulary forbidden ids can be among the best: never minus infinity below.
        sums_GX = jnp.maximum(sums_GX, 2 * _NEVER)
        parents_GX, ids_GX = flat_GX // vocab, flat_GX % vocab
        seqs_GXT = jnp.take_along_axis(beams.live_GET, parents_GX[:, :, None], axis=1)
        seqs_GXT = lax.dynamic_update_slice(
            seqs_GXT, ids_GX[:, :, None].astype(jnp.int32), (0, 0, beams.position + 1)
        )
        ended_GX = ids_GX == eos
        length = beams.position + 1
        if rule is LengthRule.HF:
            ended_GX = ended_GX | (length == max_tokens)

        running_GX = sums_GX + ended_GX * _NEVER
        kept_GE = best(running_GX, E)
        live_scores_GE = jnp.take_along_axis(running_GX, kept_GE, axis=1)
        kept_parents_GE = jnp.take_along_axis(parents_GX, kept_GE, axis=1)
        cache = reorder(cache, (jnp.arange(G)[:, None] * E + kept_parents_GE).reshape(-1))

        finishing_GX = ended_GX
        scores_GX = sums_GX / penalty(length)
        if rule is LengthRule.HF:
            finishing_GX = ended_GX & (jnp.arange(V2) < E)[None, :]
            full_G = jnp.all(beams.is_done_GE, axis=1) & (early_stopping == "yes")
            scores_GX = scores_GX + (full_G | ~beams.open_G)[:, None] * _NEVER
        scores_GX = scores_GX + ~finishing_GX * _NEVER

        merged_scores_GY = jnp.concatenate([beams.done_scores_GE, scores_GX], axis=1)
        merged_done_GY = jnp.concatenate([beams.is_done_GE, finishing_GX], axis=1)
        merged_GYT = jnp.concatenate([beams.done_GET, seqs_GXT], axis=1)
        top_GE = best(merged_scores_GY, E)
        beams = _Beams(
            position=length,
            live_GET=jnp.take_along_axis(seqs_GXT, kept_GE[:, :, None], axis=1),
            live_scores_GE=live_scores_GE,
            done_GET=jnp.take_along_axis(merged_GYT, top_GE[:, :, None], axis=1),
            done_scores_GE=jnp.take_along_axis(merged_scores_GY, top_GE, axis=1),
            is_done_GE=jnp.take_along_axis(merged_done_GY, top_GE, axis=1),
            open_G=beams.open_G,
            cache=cache,
        )
        return beams._replace(open_G=beams.open_G & can_improve(beams))

    def can_improve(beams: _Beams) -> Bool[Array, "G"]:
        """Whether the best live sequence of a source could still enter its finished ones."""
        if rule is LengthRule.T5X:
            bound = max_tokens + 1  # T5X counts the padding in front
        elif early_stopping == "never" and alpha > 0:
            bound = max_tokens
        else:
            bound = beams.position
        hope_G = jnp.max(beams.live_scores_GE, axis=1) / penalty(bound)
        worst_G = jnp.min(beams.done_scores_GE, axis=1)
        worst_G = jnp.where(jnp.all(beams.is_done_GE, axis=1), worst_G, _NEVER)
        return ~(worst_G > hope_G) if rule is LengthRule.T5X else hope_G > worst_G

    def unfinished(beams: _Beams) -> Bool[Array, ""]:
        going = (beams.position < max_tokens) & jnp.any(beams.open_G)
        if rule is LengthRule.HF and early_stopping == "yes":
            going = going & ~jnp.all(beams.is_done_GE)
        return going

    empty_GET = jnp.full((G, E, max_tokens + 1), pad, jnp.int32)
    last = lax.while_loop(
        unfinished,
        extend,
        _Beams(
            position=jnp.zeros((), jnp.int32),
            live_GET=empty_GET,
            live_scores_GE=jnp.tile(jnp.array([[0.0] + [_NEVER] * (E - 1)]), (G, 1)),
            done_GET=empty_GET,
            done_scores_GE=jnp.full((G, E), _NEVER),
            is_done_GE=jnp.zeros((G, E), jnp.bool_),
            open_G=jnp.ones((G,), jnp.bool_),
            cache=cache,
        ),
    )
    none_G = ~jnp.any(last.is_done_GE, axis=1)
    tokens_GET = jnp.where(none_G[:, None, None], last.live_GET, last.done_GET)
    scores_GE = jnp.where(none_G[:, None], last.live_scores_GE, last.done_scores_GE)
    if rule is LengthRule.T5X:
        tokens_GET, scores_GE = jnp.flip(tokens_GET, axis=1), jnp.flip(scores_GE, axis=1)
    return Decoded(tokens_GET[:, :, 1:].reshape(G * E, max_tokens), scores_GE.reshape(-1))


def best_of_beams(decoded: Decoded, *, beam_size: int) -> Decoded:
    """Returns the first sequence of each source of `beam_search`'s result, shapes (G, T), (G,)."""
    return jax.tree.map(lambda leaf: leaf[::beam_size], decoded)
