"""T5's relative positions: distances fall into buckets, and each bucket has a bias per head."""

import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np


def relative_position_buckets(
    relative_position: Int[Array, "..."],
    *,
    bidirectional: bool,
    num_buckets: int = 32,
    max_distance: int = 128,
) -> Int[Array, "..."]:
    """Maps key index minus query index to a bucket.

    Half of the buckets hold one distance each, the others grow logarithmically up to
    `max_distance`; all larger distances share the last one. With n >= e (e exact buckets, N in
    all for a direction): bucket = e + trunc(ln(n / e) / ln(max_distance / e) * (N - e)).

    Causal, 32 buckets of distance 128:

        key - query   3   0  -1 ... -15  -16  -18  -19 ... -113  -500
        bucket        0   0   1      15   16   16   17       31    31

    Args:
      relative_position: key index - query index, any shape.
      bidirectional: True gives each direction half of the buckets, the upper half to keys after
        the query; False puts all such keys into bucket 0.
      num_buckets: all buckets R.
      max_distance: start of the open-ended bucket.

    Returns:
      Bucket indices below `num_buckets`, int32, of the same shape.

    Source:
      https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5/layers.py
      (`RelativePositionBiases._relative_position_bucket`; float32 eps inside the logarithm).
    """
    distance = -relative_position
    if bidirectional:
        num_buckets //= 2
        offset = jnp.where(distance < 0, num_buckets, 0)
        distance = jnp.abs(distance)
    else:
        offset = jnp.zeros_like(distance)
        distance = jnp.maximum(distance, 0)
    max_exact = num_buckets // 2
    ratio = distance.astype(jnp.float32) / max_exact + np.finfo(np.float32).eps
    steps = jnp.log(ratio) / np.log(max_distance / max_exact) * (num_buckets - max_exact)
    far = jnp.minimum(max_exact + steps.astype(jnp.int32), num_buckets - 1)
    return (offset + jnp.where(distance < max_exact, distance, far)).astype(jnp.int32)


def bucket_table(
    *,
    num_queries: int,
    num_keys: int,
    first_query: int | Int[Array, ""] = 0,
    bidirectional: bool,
    num_buckets: int = 32,
    max_distance: int = 128,
) -> Int[Array, "T S"]:
    """Returns the bucket of every query and key of a row.

    Offsets in the row are used even where several examples are packed in it: only differences
    count, and keys of other examples are masked.

    Args:
      num_queries: queries T.
      num_keys: keys S, the first at offset 0.
      first_query: offset of the first query; above 0 while decoding step by step.
      bidirectional: as in `relative_position_buckets`.
      num_buckets: as in `relative_position_buckets`.
      max_distance: as in `relative_position_buckets`.

    Returns:
      Bucket indices (T, S), int32.
    """
    query_T1 = first_query + jnp.arange(num_queries, dtype=jnp.int32)[:, None]
    key_1S = jnp.arange(num_keys, dtype=jnp.int32)[None, :]
    return relative_position_buckets(
        key_1S - query_T1,
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=max_distance,
    )
