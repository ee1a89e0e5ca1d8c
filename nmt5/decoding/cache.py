"""What a search needs of a model: one step of its decoder, and its cache reordered.

A search sees the model only through a `StepFunction`. The cache may be any tree of arrays.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Cache: TypeAlias = Any
StepFunction: TypeAlias = Callable[
    [Int[Array, "N"], Cache], tuple[Float[Array, "N V"], Cache]
]  # last tokens, cache -> logits of the next tokens, cache
ReorderFunction: TypeAlias = Callable[[Cache, Int[Array, "M"]], Cache]


def pick_rows(cache: Cache, indices_M: Int[Array, "M"]) -> Cache:
    """Returns the cache of some sequences: all leaves but scalars have a row for each."""
    return jax.tree.map(lambda leaf: leaf[indices_M] if leaf.ndim else leaf, cache)


class Best(NamedTuple):
    """The most probable next ids of each row, best first; of equals the lower id."""

    ids_NX: Int[Array, "N X"]
    log_probs_NX: Float[Array, "N X"]


# Columns of a block: the maxima of blocks say which few blocks can hold the best ids.
_BLOCK = 128
_LEAST_BLOCKS = 32


def best_continuations(
    logits_NV: Float[Array, "N V"], *, count: int, num_ids: int, pad: int
) -> Best:
    """Returns the `count` best ids that may be written, with their log probabilities.

    Equal to sorting `allowed_log_probs`, without writing an array of its size: with a vocabulary of
    250,112 that array is most of a step's memory traffic. The `count` best ids lie in the `count`
    blocks of columns with the largest maxima, so only these are sorted.

    Args:
      logits_NV: scores of the next ids.
      count: X, at most V.
      num_ids: ids from here on are padding rows of the embedding.
      pad: the padding id.

    Returns:
      Ids and float32 log probabilities, (N, X); minus infinity where fewer ids are allowed.
    """
    logits_NV = logits_NV.astype(jnp.float32)
    rows, vocab = logits_NV.shape
    max_N1 = jnp.max(logits_NV, axis=-1, keepdims=True)
    log_sum_N1 = jnp.log(jnp.sum(jnp.exp(logits_NV - max_N1), axis=-1, keepdims=True))
    ids_V = jnp.arange(vocab)
    allowed_V = (ids_V < num_ids) & (ids_V != pad)
    masked_NV = jnp.where(allowed_V[None, :], logits_NV, -jnp.inf)
    num_blocks = vocab // _BLOCK
    if count == 1:
        # The lowest of the best ids. XLA's CPU code for argmax carries two values and is slow.
        best_NX = jnp.max(masked_NV, axis=-1, keepdims=True)
        at_best_NV = jnp.where(masked_NV == best_NX, ids_V, vocab - 1)
        ids_NX = jnp.min(at_best_NV, axis=-1, keepdims=True)
    elif vocab % _BLOCK or num_blocks < max(_LEAST_BLOCKS, 2 * count):
        best_NX, ids_NX = lax.top_k(masked_NV, count)
    else:
        blocks_NCB = masked_NV.reshape(rows, num_blocks, _BLOCK)
        chosen_NX = lax.top_k(jnp.max(blocks_NCB, axis=-1), count)[1]
        # In ascending order, so that among equals the lower id comes first.
        chosen_NX = jnp.sort(chosen_NX, axis=-1)
        few_NXB = jnp.take_along_axis(blocks_NCB, chosen_NX[:, :, None], axis=1)
        best_NX, at_NX = lax.top_k(few_NXB.reshape(rows, count * _BLOCK), count)
        block_NX = jnp.take_along_axis(chosen_NX, at_NX // _BLOCK, axis=1)
        ids_NX = block_NX * _BLOCK + at_NX % _BLOCK
    return Best(ids_NX.astype(jnp.int32), best_NX - max_N1 - log_sum_N1)


def shrinking_sizes(size: int) -> list[int]:
    """Returns how many sequences are worked on, in turn, as more and more of them end.

    Each size is a loop of its own to compile, so there are few, far apart.

    >>> shrinking_sizes(64), shrinking_sizes(256), shrinking_sizes(16)
    ([64, 16], [256, 64, 16], [16])
    """
    sizes = [size]
    while sizes[-1] % 4 == 0 and sizes[-1] // 4 >= 8:
        sizes.append(sizes[-1] // 4)
    return sizes


def unfinished_first(ended_N: Array, *, count: int) -> Int[Array, "M"]:
    """Returns `count` rows in their order, all that have not ended among them."""
    return jnp.sort(jnp.argsort(ended_N, stable=True)[:count])


def allowed_log_probs(
    logits_NV: Float[Array, "N V"], *, num_ids: int, pad: int
) -> Float[Array, "N V"]:
    """Returns log probabilities with ids that may not be written at minus infinity.

    The embedding of a model may have more rows than its vocabulary has ids (mT5: 250,112 rows,
    250,100 ids), and padding is no text. Both stay in the denominator, so the scores of all other
    ids are those of T5X.

    Args:
      logits_NV: scores of the next ids.
      num_ids: ids from here on are padding rows of the embedding.
      pad: the padding id.

    Returns:
      float32 log probabilities, (N, V).
    """
    log_probs_NV = jax.nn.log_softmax(logits_NV.astype(jnp.float32), axis=-1)
    ids_V = jnp.arange(logits_NV.shape[-1])
    allowed_V = (ids_V < num_ids) & (ids_V != pad)
    return jnp.where(allowed_V[None, :], log_probs_NV, -jnp.inf)
