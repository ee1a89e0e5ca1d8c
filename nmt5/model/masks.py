"""Who may attend to whom, as additive terms: 0 where allowed, -1e10 where not.

The rules are T5X's: a token above 0 is real, segments (numbered from 1, 0 for padding) do not see
each other, and the decoder does not see later positions.

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5/layers.py
  (`make_attention_mask`, `make_decoder_mask`).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED = -1e10


def additive(allowed: Bool[Array, "B T S"]) -> Float[Array, "B 1 T S"]:
    """Returns 0 where `allowed` and -1e10 elsewhere, float32, with an axis for the heads.

    A finite value keeps the softmax of a fully masked row (padding) finite; beside any allowed
    key exp(-1e10) is exactly 0 in float32, so nothing leaks, forward or backward.
    """
    return jnp.where(allowed, 0.0, MASKED).astype(jnp.float32)[:, None]


def encoder_mask(
    tokens_BS: Int[Array, "B S"], *, segment_ids_BS: Int[Array, "B S"] | None = None
) -> Float[Array, "B 1 S S"]:
    """Returns the encoder's self-attention mask: real tokens of the same segment see each other."""
    return additive(_both_real(tokens_BS, tokens_BS, segment_ids_BS, segment_ids_BS))


def decoder_mask(
    target_tokens_BT: Int[Array, "B T"], *, segment_ids_BT: Int[Array, "B T"] | None = None
) -> Float[Array, "B 1 T T"]:
    """Returns the decoder's self-attention mask: as the encoder's, and no later position.

    Args:
      target_tokens_BT: targets, not decoder inputs: the latter begin with 0, which is no padding.
      segment_ids_BT: segments of the targets, or None for one example per row.
    """
    allowed_BTT = _both_real(target_tokens_BT, target_tokens_BT, segment_ids_BT, segment_ids_BT)
    length = target_tokens_BT.shape[1]
    causal_TT = jnp.tril(jnp.ones((length, length), dtype=bool))
    return additive(allowed_BTT & causal_TT[None])


def cross_mask(
    target_tokens_BT: Int[Array, "B T"],
    input_tokens_BS: Int[Array, "B S"],
    *,
    decoder_segment_ids_BT: Int[Array, "B T"] | None = None,
    encoder_segment_ids_BS: Int[Array, "B S"] | None = None,
) -> Float[Array, "B 1 T S"]:
    """Returns the mask of decoder positions over encoder positions."""
    return additive(
        _both_real(
            target_tokens_BT, input_tokens_BS, decoder_segment_ids_BT, encoder_segment_ids_BS
        )
    )


def key_mask(input_tokens_BS: Int[Array, "B S"]) -> Float[Array, "B 1 1 S"]:
    """Returns the mask over encoder positions for any query, as decoding needs it."""
    return additive((input_tokens_BS > 0)[:, None, :])


def _both_real(query_tokens_BT, key_tokens_BS, query_segments_BT, key_segments_BS):
    allowed_BTS = (query_tokens_BT > 0)[:, :, None] & (key_tokens_BS > 0)[:, None, :]
    if query_segments_BT is not None and key_segments_BS is not None:
        allowed_BTS &= query_segments_BT[:, :, None] == key_segments_BS[:, None, :]
    return allowed_BTS
