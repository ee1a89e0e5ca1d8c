"""Who may attend to whom.

Either as additive terms, 0 where allowed and -1e10 where not, or as an id for each position: a
query sees the keys of its own id. A term is needed for every pair of positions, an id for each.

The rules are T5X's: a token above 0 is real, segments (numbered from 1, 0 for padding) do not see
each other, and the decoder does not see later positions.

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5/layers.py
  (`make_attention_mask`, `make_decoder_mask`).
"""

from flax import struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED = -1e10
# Ids of padding: it neither sees nor is seen.
_PADDED_QUERY, _PADDED_KEY = -1, -2


class Mask(struct.PyTreeNode):
    """Who may attend to whom, in both forms; what a program does not read it does not compute.

    Attributes:
      terms_B1TS: 0 or -1e10, float32, with an axis for the heads.
      query_ids_BT: a query sees the keys with its id; int32.
      key_ids_BS: the keys' ids; int32.
      causal: whether keys after a query's own position are hidden too (T = S).
    """

    terms_B1TS: Float[Array, "B 1 #T S"]
    query_ids_BT: Int[Array, "B T"]
    key_ids_BS: Int[Array, "B S"]
    causal: bool = struct.field(pytree_node=False, default=False)


def additive(allowed: Bool[Array, "B T S"]) -> Float[Array, "B 1 T S"]:
    """Returns 0 where `allowed` and -1e10 elsewhere, float32, with an axis for the heads.

    A finite value keeps the softmax of a fully masked row (padding) finite; beside any allowed
    key exp(-1e10) is exactly 0 in float32, so nothing leaks, forward or backward.
    """
    return jnp.where(allowed, 0.0, MASKED).astype(jnp.float32)[:, None]


def encoder_mask(
    tokens_BS: Int[Array, "B S"], *, segment_ids_BS: Int[Array, "B S"] | None = None
) -> Mask:
    """Returns the encoder's self-attention mask: real tokens of the same segment see each other."""
    return _mask(tokens_BS, tokens_BS, segment_ids_BS, segment_ids_BS)


def decoder_mask(
    target_tokens_BT: Int[Array, "B T"], *, segment_ids_BT: Int[Array, "B T"] | None = None
) -> Mask:
    """Returns the decoder's self-attention mask: as the encoder's, and no later position.

    Args:
      target_tokens_BT: targets, not decoder inputs: the latter begin with 0, which is no padding.
      segment_ids_BT: segments of the targets, or None for one example per row.
    """
    return _mask(target_tokens_BT, target_tokens_BT, segment_ids_BT, segment_ids_BT, causal=True)


def cross_mask(
    target_tokens_BT: Int[Array, "B T"],
    input_tokens_BS: Int[Array, "B S"],
    *,
    decoder_segment_ids_BT: Int[Array, "B T"] | None = None,
    encoder_segment_ids_BS: Int[Array, "B S"] | None = None,
) -> Mask:
    """Returns the mask of decoder positions over encoder positions."""
    return _mask(target_tokens_BT, input_tokens_BS, decoder_segment_ids_BT, encoder_segment_ids_BS)


def key_mask(input_tokens_BS: Int[Array, "B S"]) -> Float[Array, "B 1 1 S"]:
    """Returns the mask over encoder positions for any query, as decoding needs it."""
    return additive((input_tokens_BS > 0)[:, None, :])


def _mask(query_tokens_BT, key_tokens_BS, query_segments_BT, key_segments_BS, *, causal=False):
    if query_segments_BT is None or key_segments_BS is None:
        query_segments_BT, key_segments_BS = 0, 0  # all real tokens see each other
    query_ids_BT = jnp.where(query_tokens_BT > 0, query_segments_BT, _PADDED_QUERY)
    key_ids_BS = jnp.where(key_tokens_BS > 0, key_segments_BS, _PADDED_KEY)
    allowed_BTS = query_ids_BT[:, :, None] == key_ids_BS[:, None, :]
    if causal:
        length = query_tokens_BT.shape[1]
        allowed_BTS &= jnp.tril(jnp.ones((length, length), dtype=bool))[None]
    return Mask(additive(allowed_BTS), query_ids_BT, key_ids_BS, causal=causal)
