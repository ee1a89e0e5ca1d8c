"""One sequence per source, one id at a time: the loop, and its simplest choice, the best id."""

from collections.abc import Callable
from typing import NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmt5.decoding.cache import Cache, StepFunction, allowed_log_probs


class Decoded(NamedTuple):
    """Finished sequences.

    Attributes:
      tokens_NT: int32 ids; the end-of-sequence id closes a sequence, padding follows.
      scores_N: float32, larger is better; what it means is said by the search.
    """

    tokens_NT: Int[Array, "N T"]
    scores_N: Float[Array, "N"]


class _Loop(NamedTuple):
    position: Int[Array, ""]
    last_N: Int[Array, "N"]
    ended_N: Array
    tokens_NT: Int[Array, "N T"]
    scores_N: Float[Array, "N"]
    cache: Cache


def choose_each(
    step: StepFunction,
    choose: Callable[[Float[Array, "N V"], Int[Array, ""]], Int[Array, "N"]],
    *,
    cache: Cache,
    num_sequences: int,
    max_tokens: int,
    num_ids: int,
    eos: int,
    pad: int,
) -> Decoded:
    """Extends every sequence by the id that `choose` picks until all have ended.

        step      0   1   2   3
        fed       pad a   b   EOS      (the first decoder input is padding, as in training)
        written   a   b   EOS pad

    Args:
      step: the model's decoder for one position.
      choose: (log probabilities (N, V), position) -> ids (N,).
      cache: the decoder's cache before the first position.
      num_sequences: N.
      max_tokens: T, the longest output, end of sequence included.
      num_ids: ids of the vocabulary; larger ones are never written.
      eos: id of the end of a sequence.
      pad: id of padding, never written before the end.

    Returns:
      Ids, and the sum of the log probabilities of those that were written. A sequence that was
      cut at `max_tokens` has no end of sequence.
    """
    first = _Loop(
        position=jnp.zeros((), jnp.int32),
        last_N=jnp.full((num_sequences,), pad, jnp.int32),
        ended_N=jnp.zeros((num_sequences,), jnp.bool_),
        tokens_NT=jnp.full((num_sequences, max_tokens), pad, jnp.int32),
        scores_N=jnp.zeros((num_sequences,), jnp.float32),
        cache=cache,
    )

    def unfinished(loop: _Loop) -> Array:
        return (loop.position < max_tokens) & ~jnp.all(loop.ended_N)

    def extend(loop: _Loop) -> _Loop:
        logits_NV, cache = step(loop.last_N, loop.cache)
        log_probs_NV = allowed_log_probs(logits_NV, num_ids=num_ids, pad=pad)
        chosen_N = choose(log_probs_NV, loop.position).astype(jnp.int32)
        gained_N = jnp.take_along_axis(log_probs_NV, chosen_N[:, None], axis=1)[:, 0]
        chosen_N = jnp.where(loop.ended_N, pad, chosen_N)
        return _Loop(
            position=loop.position + 1,
            last_N=chosen_N,
            ended_N=loop.ended_N | (chosen_N == eos),
            tokens_NT=lax.dynamic_update_slice(
                loop.tokens_NT, chosen_N[:, None], (0, loop.position)
            ),
            scores_N=loop.scores_N + jnp.where(loop.ended_N, 0.0, gained_N),
            cache=cache,
        )

    last = lax.while_loop(unfinished, extend, first)
    return Decoded(last.tokens_NT, last.scores_N)


def greedy_search(
    step: StepFunction,
    *,
    cache: Cache,
    num_sequences: int,
    max_tokens: int,
    num_ids: int,
    eos: int,
    pad: int = 0,
) -> Decoded:
    """Writes the most probable id at every position; arguments and result as `choose_each`."""
    return choose_each(
        step,
        lambda log_probs_NV, position: jnp.argmax(log_probs_NV, axis=-1),
        cache=cache,
        num_sequences=num_sequences,
        max_tokens=max_tokens,
        num_ids=num_ids,
        eos=eos,
        pad=pad,
    )
