"""What a search needs of a model: one step of its decoder, and its cache reordered.

A search sees the model only through a `StepFunction`. The cache may be any tree of arrays; which
axis of a leaf counts sequences is found from its shapes at two batch sizes, so that no cache leaf
is known here by name (T5X names the leaves to leave alone, and has to be told of scanned layers).
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Cache: TypeAlias = Any
StepFunction: TypeAlias = Callable[
    [Int[Array, "N"], Cache], tuple[Float[Array, "N V"], Cache]
]  # last tokens, cache -> logits of the next tokens, cache
ReorderFunction: TypeAlias = Callable[[Cache, Int[Array, "M"]], Cache]


def sequence_axes(cache_of_batch: Callable[[int], Cache]) -> Any:
    """Finds the axis that counts sequences in each leaf of a cache.

    Args:
      cache_of_batch: gives the cache for a batch size; only its shapes are used, nothing runs.

    Returns:
      A tree like the cache with one int per leaf, -1 for a leaf that all sequences share.

    Raises:
      ValueError: a leaf changes with the batch size in more than one axis.
    """
    small = jax.eval_shape(lambda: cache_of_batch(2))
    large = jax.eval_shape(lambda: cache_of_batch(3))

    def axis(of_two: jax.ShapeDtypeStruct, of_three: jax.ShapeDtypeStruct) -> int:
        pairs = enumerate(zip(of_two.shape, of_three.shape, strict=True))
        found = [index for index, (two, three) in pairs if two != three]
        if len(found) > 1:
            raise ValueError(f"cache leaf of shape {of_two.shape}: axes {found} count sequences")
        return found[0] if found else -1

    return jax.tree.map(axis, small, large)


def reorder_by(axes: Any) -> ReorderFunction:
    """Returns a function that picks sequences out of a cache, for `axes` of `sequence_axes`."""

    def reorder(cache: Cache, indices_M: Int[Array, "M"]) -> Cache:
        return jax.tree.map(
            lambda leaf, axis: leaf if axis < 0 else jnp.take(leaf, indices_M, axis=axis),
            cache,
            axes,
        )

    return reorder


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
