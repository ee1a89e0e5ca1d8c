"""nmt5's network as T5X's models drive it: float tokens at initialisation, a cache as a collection.

T5X decodes with whatever search it likes and knows of the network only this:

    _, made = apply(params, ones, ones (B, T), ones, decode=True, mutable=["cache"])
    logits, made = apply(params + cache, encoded, inputs, tokens (N, 1), tokens, decode=True,
                         method="decode", mutable=["cache"])

N is B times the number of beams; between the calls T5X repeats and reorders axis 0 of every leaf of
the collection except those called `cache_index`:

    cache/layers_0/cached_key      (N, H, T, K)     cached_value
    cache/cache_index              ()

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/models.py
  (`EncoderDecoderModel`), `t5x/decoding.py` there (`cache_map`).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmt5.model import network
from nmt5.model.attention import KeptKeysAndValues
from nmt5.model.network import Cache, empty_cache

CACHE, INDEX = "cache", "cache_index"


class Transformer(network.Transformer):
    """`nmt5.model.network.Transformer` with T5X's calls; parameters and logits are the same."""

    def __call__(
        self,
        encoder_input_tokens: Float[Array, "B S"] | Int[Array, "B S"],
        decoder_input_tokens: Float[Array, "B T"] | Int[Array, "B T"],
        decoder_target_tokens: Float[Array, "B T"] | Int[Array, "B T"],
        encoder_segment_ids: Int[Array, "B S"] | None = None,
        decoder_segment_ids: Int[Array, "B T"] | None = None,
        encoder_positions: Int[Array, "B S"] | None = None,
        decoder_positions: Int[Array, "B T"] | None = None,
        *,
        enable_dropout: bool = True,
        decode: bool = False,
    ) -> Float[Array, "B T V"]:
        """Returns logits of whole targets, float32; arguments as the network's own.

        Args:
          encoder_input_tokens: inputs; T5X initialises with ones of type float.
          decoder_input_tokens: targets shifted right.
          decoder_target_tokens: targets.
          encoder_segment_ids: segments of packed inputs.
          decoder_segment_ids: segments of packed targets.
          encoder_positions: not read.
          decoder_positions: not read.
          enable_dropout: T5X's default; it always says which.
          decode: True also makes an empty cache, with room for T positions of B rows.
        """
        if decode:
            rows, length = decoder_input_tokens.shape
            self._put_cache(empty_cache(self.config, num_rows=rows, max_length=length))
        return super().__call__(
            encoder_input_tokens.astype(jnp.int32),
            decoder_input_tokens.astype(jnp.int32),
            decoder_target_tokens.astype(jnp.int32),
            encoder_segment_ids=encoder_segment_ids,
            decoder_segment_ids=decoder_segment_ids,
            enable_dropout=enable_dropout,
        )

    def decode(
        self,
        encoded: Float[Array, "N S D"],
        encoder_input_tokens: Int[Array, "N S"],
        decoder_input_tokens: Int[Array, "N T"],
        decoder_target_tokens: Int[Array, "N T"],
        encoder_segment_ids: Int[Array, "N S"] | None = None,
        decoder_segment_ids: Int[Array, "N T"] | None = None,
        decoder_positions: Int[Array, "N T"] | None = None,
        *,
        enable_dropout: bool = True,
        decode: bool = False,
        max_decode_length: int | None = None,
    ) -> Float[Array, "N T V"]:
        """Returns logits given encoder states: of whole targets, or of the next positions.

        Args:
          encoded: encoder states, of the same number of rows as all else.
          encoder_input_tokens: inputs, for the mask of their padding.
          decoder_input_tokens: targets shifted right; if `decode`, the next tokens.
          decoder_target_tokens: targets; not read if `decode`.
          encoder_segment_ids: segments of packed inputs; not if `decode`.
          decoder_segment_ids: segments of packed targets; not if `decode`.
          decoder_positions: not read.
          enable_dropout: as `__call__`.
          decode: True reads and extends the collection `cache`.
          max_decode_length: not read; the cache has its length.

        Raises:
          ValueError: `decode` with packed rows.
        """
        if not decode:
            return super().decode(
                encoded,
                encoder_input_tokens,
                decoder_input_tokens,
                decoder_target_tokens,
                encoder_segment_ids=encoder_segment_ids,
                decoder_segment_ids=decoder_segment_ids,
                enable_dropout=enable_dropout,
            )
        if encoder_segment_ids is not None:
            raise ValueError("Transformer.decode: packed rows cannot be decoded step by step")
        memory = self.start_decoding(encoded, encoder_input_tokens)
        logits, cache = self.decode_step(decoder_input_tokens, memory, self._get_cache())
        self._put_cache(cache)
        return logits

    def _put_cache(self, cache: Cache) -> None:
        for i, layer in enumerate(cache.layers):
            held = {"cached_key": layer.key_BHSK, "cached_value": layer.value_BHSK}
            self.put_variable(CACHE, f"layers_{i}", held)
        self.put_variable(CACHE, INDEX, cache.length)

    def _get_cache(self) -> Cache:
        held = [
            self.get_variable(CACHE, f"layers_{i}") for i in range(self.config.num_decoder_layers)
        ]
        layers = tuple(KeptKeysAndValues(one["cached_key"], one["cached_value"]) for one in held)
        return Cache(layers, self.get_variable(CACHE, INDEX))
