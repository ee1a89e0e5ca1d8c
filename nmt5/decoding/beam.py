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

from nmt5.decoding.cache import (
    Cache,
    ReorderFunction,
    StepFunction,
    best_continuations,
    shrinking_sizes,
    unfinished_first,
)
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
    sources_G: Int[Array, "G"]  # which of all sources
    live_GET: Int[Array, "G E T"]
    live_scores_GE: Float[Array, "G E"]
    done_GET: Int[Array, "G E T"]
    done_scores_GE: Float[Array, "G E"]
    is_done_GE: Bool[Array, "G E"]
    open_G: Bool[Array, "G"]  # whether a source may still improve
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
    real_G: Bool[Array, "G"] | None = None,
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
      real_G: False for sources that only fill up the array; what is written there means nothing.
        None: all real.

    Returns:
      Ids (G, E, T) flattened to (G x E, T), best first within a source, and their scores. With
      T5X's rule a source may have finished fewer than E sequences; the rest is padding with a
      score of about -1e7.
    """
    E, V2 = beam_size, 2 * beam_size
    if rule is LengthRule.HF:
        penalty = lambda length: jnp.power(length * 1.0, alpha)  # noqa: E731
    else:
        penalty = lambda length: jnp.power((5.0 + length) / 6.0, alpha)  # noqa: E731

    def best_of(scores_GX: Float[Array, "G X"], count: int) -> Int[Array, "G C"]:
        indices_GC = lax.top_k(scores_GX, count)[1]
        # T5X keeps its beams worst first; the order decides between equal scores.
        return jnp.flip(indices_GC, axis=1) if rule is LengthRule.T5X else indices_GC

    def extend(beams: _Beams) -> _Beams:
        G = beams.open_G.shape[0]
        last_N = beams.live_GET[:, :, beams.position].reshape(-1)
        logits_NV, cache = step(last_N, beams.cache)
        # The best V2 of a source are among the best V2 of each of its beams.
        each = min(V2, logits_NV.shape[-1])
        best = best_continuations(logits_NV, count=each, num_ids=num_ids, pad=pad)
        sums_GEX = best.log_probs_NX.reshape(G, E, each) + beams.live_scores_GE[:, :, None]
        sums_GX, flat_GX = lax.top_k(sums_GEX.reshape(G, E * each), V2)
        # With a tiny vocabulary forbidden ids can be among the best: never minus infinity below.
        sums_GX = jnp.maximum(sums_GX, 2 * _NEVER)
        parents_GX = flat_GX // each
        ids_GX = jnp.take_along_axis(best.ids_NX.reshape(G, E * each), flat_GX, axis=1)
        seqs_GXT = jnp.take_along_axis(beams.live_GET, parents_GX[:, :, None], axis=1)
        seqs_GXT = lax.dynamic_update_slice(
            seqs_GXT, ids_GX[:, :, None].astype(jnp.int32), (0, 0, beams.position + 1)
        )
        ended_GX = ids_GX == eos
        length = beams.position + 1
        if rule is LengthRule.HF:
            ended_GX = ended_GX | (length == max_tokens)

        running_GX = sums_GX + ended_GX * _NEVER
        kept_GE = best_of(running_GX, E)
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
        top_GE = best_of(merged_scores_GY, E)
        beams = _Beams(
            position=length,
            sources_G=beams.sources_G,
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
        elif early_stopping == "never":
            bound = jnp.where(alpha > 0, max_tokens, beams.position)
        else:
            bound = beams.position
        hope_G = jnp.max(beams.live_scores_GE, axis=1) / penalty(bound)
        worst_G = jnp.min(beams.done_scores_GE, axis=1)
        worst_G = jnp.where(jnp.all(beams.is_done_GE, axis=1), worst_G, _NEVER)
        return ~(worst_G > hope_G) if rule is LengthRule.T5X else hope_G > worst_G

    def is_open(beams: _Beams) -> Bool[Array, "G"]:
        if rule is LengthRule.HF and early_stopping == "yes":
            return beams.open_G & ~jnp.all(beams.is_done_GE, axis=1)
        return beams.open_G

    empty_GET = jnp.full((num_sources, E, max_tokens + 1), pad, jnp.int32)
    beams = _Beams(
        position=jnp.zeros((), jnp.int32),
        sources_G=jnp.arange(num_sources, dtype=jnp.int32),
        live_GET=empty_GET,
        live_scores_GE=jnp.tile(jnp.array([[0.0] + [_NEVER] * (E - 1)]), (num_sources, 1)),
        done_GET=empty_GET,
        done_scores_GE=jnp.full((num_sources, E), _NEVER),
        is_done_GE=jnp.zeros((num_sources, E), jnp.bool_),
        open_G=jnp.ones((num_sources,), jnp.bool_) if real_G is None else real_G,
        cache=cache,
    )
    tokens_GET, scores_GE = _outcome(beams)
    # A source that cannot improve stays as it is, whatever is done with it: once three quarters of
    # them are so far, the others go on alone.
    for fewer in [*shrinking_sizes(num_sources)[1:], 0]:

        def unfinished(beams: _Beams, fewer=fewer) -> Bool[Array, ""]:
            return (beams.position < max_tokens) & (jnp.sum(is_open(beams)) > fewer)

        beams = lax.while_loop(unfinished, extend, beams)
        some_GET, some_GE = _outcome(beams)
        tokens_GET = tokens_GET.at[beams.sources_G].set(some_GET, unique_indices=True)
        scores_GE = scores_GE.at[beams.sources_G].set(some_GE, unique_indices=True)
        if fewer:
            kept_M = unfinished_first(~is_open(beams), count=fewer)
            rows_ME = kept_M[:, None] * E + jnp.arange(E)[None, :]
            fields = beams._asdict()
            cache = reorder(fields.pop("cache"), rows_ME.reshape(-1))
            position = fields.pop("position")
            kept = {name: value[kept_M] for name, value in fields.items()}
            beams = _Beams(position=position, cache=cache, **kept)
    if rule is LengthRule.T5X:
        tokens_GET, scores_GE = jnp.flip(tokens_GET, axis=1), jnp.flip(scores_GE, axis=1)
    return Decoded(tokens_GET[:, :, 1:].reshape(num_sources * E, max_tokens), scores_GE.reshape(-1))


def _outcome(beams: _Beams) -> tuple[Int[Array, "G E T"], Float[Array, "G E"]]:
    """Returns the finished sequences of each source, the live ones where it has none."""
    none_G = ~jnp.any(beams.is_done_GE, axis=1)
    tokens_GET = jnp.where(none_G[:, None, None], beams.live_GET, beams.done_GET)
    return tokens_GET, jnp.where(none_G[:, None], beams.live_scores_GE, beams.done_scores_GE)


def best_of_beams(decoded: Decoded, *, beam_size: int) -> Decoded:
    """Returns the first sequence of each source of `beam_search`'s result, shapes (G, T), (G,)."""
    return jax.tree.map(lambda leaf: leaf[::beam_size], decoded)
