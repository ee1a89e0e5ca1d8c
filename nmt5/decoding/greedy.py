"""One sequence per source, one id at a time: the loop, and its simplest choice, the best id."""

from collections.abc import Callable
from typing import NamedTuple

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
    rows_N: Int[Array, "N"]  # which of all sequences
    last_N: Int[Array, "N"]
    ended_N: Array
    tokens_NT: Int[Array, "N T"]
    scores_N: Float[Array, "N"]
    cache: Cache


# (logits (N, V), position, numbers of the sequences (N,)) -> ids (N,), their log probabilities (N,)
Choose = Callable[
    [Float[Array, "N V"], Int[Array, ""], Int[Array, "N"]],
    tuple[Int[Array, "N"], Float[Array, "N"]],
]


def choose_each(
    step: StepFunction,
    choose: Choose,
    *,
    cache: Cache,
    reorder: ReorderFunction,
    num_sequences: int,
    max_tokens: int,
    eos: int,
    pad: int,
    real_N: Bool[Array, "N"] | None = None,
) -> Decoded:
    """Extends every sequence by the id that `choose` picks until all have ended.

        step      0   1   2   3
        fed       pad a   b   EOS      (the first decoder input is padding, as in training)
        written   a   b   EOS pad

    When three quarters of the sequences have ended, the others go on alone.

    Args:
      step: the model's decoder for one position.
      choose: picks the next ids.
      cache: the decoder's cache before the first position.
      reorder: picks sequences out of a cache.
      num_sequences: N.
      max_tokens: T, the longest output, end of sequence included.
      eos: id of the end of a sequence.
      pad: id of padding, never written before the end.
      real_N: False for rows that only fill up the array; nothing is written there. None: all real.

    Returns:
      Ids, and the sum of the log probabilities of those that were written. A sequence that was
      cut at `max_tokens` has no end of sequence.
    """
    loop = _Loop(
        position=jnp.zeros((), jnp.int32),
        rows_N=jnp.arange(num_sequences, dtype=jnp.int32),
        last_N=jnp.full((num_sequences,), pad, jnp.int32),
        ended_N=jnp.zeros((num_sequences,), jnp.bool_) if real_N is None else ~real_N,
        tokens_NT=jnp.full((num_sequences, max_tokens), pad, jnp.int32),
        scores_N=jnp.zeros((num_sequences,), jnp.float32),
        cache=cache,
    )
    found = Decoded(loop.tokens_NT, loop.scores_N)

    def extend(loop: _Loop) -> _Loop:
        logits_NV, cache = step(loop.last_N, loop.cache)
        chosen_N, gained_N = choose(logits_NV, loop.position, loop.rows_N)
        chosen_N = jnp.where(loop.ended_N, pad, chosen_N.astype(jnp.int32))
        return _Loop(
            position=loop.position + 1,
            rows_N=loop.rows_N,
            last_N=chosen_N,
            ended_N=loop.ended_N | (chosen_N == eos),
            tokens_NT=lax.dynamic_update_slice(
                loop.tokens_NT, chosen_N[:, None], (0, loop.position)
            ),
            scores_N=loop.scores_N + jnp.where(loop.ended_N, 0.0, gained_N),
            cache=cache,
        )

    sizes = shrinking_sizes(num_sequences)
    for fewer in [*sizes[1:], 0]:

        def unfinished(loop: _Loop, fewer=fewer) -> Array:
            return (loop.position < max_tokens) & (jnp.sum(~loop.ended_N) > fewer)

        loop = lax.while_loop(unfinished, extend, loop)
        found = Decoded(
            found.tokens_NT.at[loop.rows_N].set(loop.tokens_NT, unique_indices=True),
            found.scores_N.at[loop.rows_N].set(loop.scores_N, unique_indices=True),
        )
        if fewer:
            kept_M = unfinished_first(loop.ended_N, count=fewer)
            arrays = {name: value for name, value in loop._asdict().items() if name.endswith("N")}
            loop = loop._replace(
                **{name: value[kept_M] for name, value in arrays.items()},
                tokens_NT=loop.tokens_NT[kept_M],
                cache=reorder(loop.cache, kept_M),
            )
    return found


def greedy_search(
    step: StepFunction,
    *,
    cache: Cache,
    reorder: ReorderFunction,
    num_sequences: int,
    max_tokens: int,
    num_ids: int,
    eos: int,
    pad: int = 0,
    real_N: Bool[Array, "N"] | None = None,
) -> Decoded:
    """Writes the most probable id at every position.

    Arguments and result as `choose_each`; `num_ids` are the ids of the vocabulary, larger ones are
    never written.
    """

    def choose(logits_NV, position, rows_N):
        del position, rows_N
        best = best_continuations(logits_NV, count=1, num_ids=num_ids, pad=pad)
        return best.ids_NX[:, 0], best.log_probs_NX[:, 0]

    return choose_each(
        step,
        choose,
        cache=cache,
        reorder=reorder,
        num_sequences=num_sequences,
        max_tokens=max_tokens,
        eos=eos,
        pad=pad,
        real_N=real_N,
    )
