"""The encoder-decoder network of the T5 family: one page, T5X's parameter tree.

    token_embedder/embedding                               (V, D)
    encoder/relpos_bias/rel_embedding                      (H, R)    one table per layer in umT5:
    encoder/layers_0/relpos_bias/rel_embedding             (H, R)    ... here instead
    encoder/layers_0/attention/query/kernel                (D, J)    key, value; out is (J, D)
    encoder/layers_0/mlp/wi_0/kernel                       (D, F)    wi_1; wo is (F, D)
    encoder/layers_0/pre_attention_layer_norm/scale        (D,)      pre_mlp_layer_norm
    encoder/encoder_norm/scale                             (D,)
    decoder/layers_0/self_attention, encoder_decoder_attention, mlp, three pre-norms ...
    decoder/decoder_norm/scale, decoder/logits_dense/kernel (D, V)   the latter unless tied

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5/network.py
"""

from flax import linen as nn
from flax import struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmt5.core.axes import EMBED, VOCAB
from nmt5.model import masks
from nmt5.model.attention import Attention, KeptKeysAndValues
from nmt5.model.config import RELATIVE_BIAS_PER_LAYER, ModelConfig
from nmt5.model.layers import Dense, Embed, FeedForward, RelativeBias, RMSNorm, length_dropout
from nmt5.model.stack import run_layers


class Memory(struct.PyTreeNode):
    """What decoding keeps of the encoder, one row per sentence; it never changes.

    Attributes:
      layers: keys and values of every decoder layer's cross-attention.
      mask_B11S: hides padding.
    """

    layers: tuple[KeptKeysAndValues, ...]
    mask_B11S: Float[Array, "B 1 1 S"]


class Cache(struct.PyTreeNode):
    """What decoding keeps of the positions so far, one row per hypothesis.

    Attributes:
      layers: keys and values of every decoder layer's self-attention, (B, H, T, K) with room for
        the whole output.
      length: positions filled so far, the same in all rows, int32.
    """

    layers: tuple[KeptKeysAndValues, ...]
    length: Int[Array, ""]


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward block, each behind a norm and beside a residual."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BSD, *, mask, bias_HSS, deterministic):
        """Returns the next layer's input (B, S, D)."""
        cfg = self.config
        dropout = length_dropout(cfg)
        if cfg.relative_bias == RELATIVE_BIAS_PER_LAYER:
            length = x_BSD.shape[1]
            bias_HSS = RelativeBias(cfg, bidirectional=True, name="relpos_bias")(length, length)
        y_BSD = RMSNorm(cfg.dtype, name="pre_attention_layer_norm")(x_BSD)
        y_BSD = Attention(cfg, name="attention")(
            y_BSD, y_BSD, mask=mask, bias_HTS=bias_HSS, deterministic=deterministic
        )
        x_BSD = x_BSD + dropout(y_BSD, deterministic=deterministic)
        y_BSD = RMSNorm(cfg.dtype, name="pre_mlp_layer_norm")(x_BSD)
        y_BSD = FeedForward(cfg, name="mlp")(y_BSD, deterministic=deterministic)
        return x_BSD + dropout(y_BSD, deterministic=deterministic)


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention and feed-forward block."""

    config: ModelConfig

    def setup(self):
        """Declares the parts."""
        cfg = self.config
        if cfg.relative_bias == RELATIVE_BIAS_PER_LAYER:
            self.relpos_bias = RelativeBias(cfg, bidirectional=False)
        self.pre_self_attention_layer_norm = RMSNorm(cfg.dtype)
        self.self_attention = Attention(cfg)
        self.pre_cross_attention_layer_norm = RMSNorm(cfg.dtype)
        self.encoder_decoder_attention = Attention(cfg)
        self.pre_mlp_layer_norm = RMSNorm(cfg.dtype)
        self.mlp = FeedForward(cfg)
        self.dropout = length_dropout(cfg)

    def __call__(self, x_BTD, encoded_BSD, *, mask, bias_HTT, cross_mask, deterministic):
        """Returns the next layer's input (B, T, D)."""
        if self.config.relative_bias == RELATIVE_BIAS_PER_LAYER:
            bias_HTT = self.relpos_bias(x_BTD.shape[1], x_BTD.shape[1])
        y_BTD = self.pre_self_attention_layer_norm(x_BTD)
        y_BTD = self.self_attention(
            y_BTD,
            y_BTD,
            mask=mask,
            bias_HTS=bias_HTT,
            deterministic=deterministic,
        )
        x_BTD = x_BTD + self.dropout(y_BTD, deterministic=deterministic)
        y_BTD = self.encoder_decoder_attention(
            self.pre_cross_attention_layer_norm(x_BTD),
            encoded_BSD,
            mask=cross_mask,
            deterministic=deterministic,
        )
        return self._finish(x_BTD, y_BTD, deterministic)

    def step(self, x_BTD, cache, memory, *, length, mask_11TS, bias_HTS, cross_mask_B11S):
        """As `__call__`, for the next positions of rows whose earlier ones are in `cache`."""
        if self.config.relative_bias == RELATIVE_BIAS_PER_LAYER:
            capacity = cache.key_BHSK.shape[2]
            bias_HTS = self.relpos_bias(x_BTD.shape[1], capacity, first_query=length)
        y_BTD, cache = self.self_attention.read_next(
            self.pre_self_attention_layer_norm(x_BTD),
            cache,
            length=length,
            mask_B1TS=mask_11TS,
            bias_HTS=bias_HTS,
        )
        x_BTD = x_BTD + y_BTD
        y_BTD = self.encoder_decoder_attention.read_kept(
            self.pre_cross_attention_layer_norm(x_BTD), memory, mask_B1TS=cross_mask_B11S
        )
        return self._finish(x_BTD, y_BTD, True), cache

    def _finish(self, x_BTD, y_BTD, deterministic):
        x_BTD = x_BTD + self.dropout(y_BTD, deterministic=deterministic)
        y_BTD = self.mlp(self.pre_mlp_layer_norm(x_BTD), deterministic=deterministic)
        return x_BTD + self.dropout(y_BTD, deterministic=deterministic)


class Encoder(nn.Module):
    """The stack over the inputs."""

    config: ModelConfig

    def setup(self):
        """Declares the layers."""
        cfg = self.config
        if cfg.relative_bias != RELATIVE_BIAS_PER_LAYER:
            self.relpos_bias = RelativeBias(cfg, bidirectional=True)
        self.layers = [EncoderLayer(cfg) for _ in range(cfg.num_encoder_layers)]
        self.encoder_norm = RMSNorm(cfg.dtype)
        self.dropout = length_dropout(cfg)
        # The one place where T5X does not share the dropout mask along the length.
        self.last_dropout = nn.Dropout(cfg.dropout_rate)

    def __call__(self, x_BSD, *, mask, deterministic):
        """Returns encoded inputs (B, S, D) from embedded ones."""
        bias_HSS, length = None, x_BSD.shape[1]
        if self.config.relative_bias != RELATIVE_BIAS_PER_LAYER:
            bias_HSS = self.relpos_bias(length, length)
        x_BSD = self.dropout(x_BSD, deterministic=deterministic)
        x_BSD = run_layers(self, x_BSD, mask=mask, bias_HSS=bias_HSS, deterministic=deterministic)
        return self.last_dropout(self.encoder_norm(x_BSD), deterministic=deterministic)


class Decoder(nn.Module):
    """The stack over the outputs, and the head."""

    config: ModelConfig

    def setup(self):
        """Declares the layers."""
        cfg = self.config
        if cfg.relative_bias != RELATIVE_BIAS_PER_LAYER:
            self.relpos_bias = RelativeBias(cfg, bidirectional=False)
        self.layers = [DecoderLayer(cfg) for _ in range(cfg.num_decoder_layers)]
        self.decoder_norm = RMSNorm(cfg.dtype)
        if not cfg.logits_via_embedding:
            self.logits_dense = Dense(cfg.vocab_size, (EMBED, VOCAB), "float32")
        self.dropout = length_dropout(cfg)

    def __call__(self, y_BTD, encoded_BSD, *, mask, cross_mask, deterministic):
        """Returns hidden states (B, T, D) from embedded decoder inputs."""
        bias_HTT = self._shared_bias(y_BTD.shape[1], y_BTD.shape[1], 0)
        y_BTD = self.dropout(y_BTD, deterministic=deterministic)
        y_BTD = run_layers(
            self,
            y_BTD,
            encoded_BSD=encoded_BSD,
            mask=mask,
            bias_HTT=bias_HTT,
            cross_mask=cross_mask,
            deterministic=deterministic,
        )
        return self.dropout(self.decoder_norm(y_BTD), deterministic=deterministic)

    def remember(self, encoded_BSD, *, mask_B11S):
        """Projects the encoder's output for every layer, once for a whole decoding."""
        attentions = [layer.encoder_decoder_attention for layer in self.layers]
        layers = tuple(attention.keep(encoded_BSD) for attention in attentions)
        return Memory(layers, mask_B11S)

    def step(self, y_BTD, memory, cache):
        """Returns hidden states of the next T positions and the longer cache."""
        num_new, capacity = y_BTD.shape[1], cache.layers[0].key_BHSK.shape[2]
        visible_T = cache.length + jnp.arange(num_new)
        allowed_TS = jnp.arange(capacity)[None, :] <= visible_T[:, None]
        mask_11TS = masks.additive(allowed_TS[None])
        bias_HTS = self._shared_bias(num_new, capacity, cache.length)
        filled = []
        for layer, layer_memory, layer_cache in zip(self.layers, memory.layers, cache.layers):
            y_BTD, layer_cache = layer.step(
                y_BTD,
                layer_cache,
                layer_memory,
                length=cache.length,
                mask_11TS=mask_11TS,
                bias_HTS=bias_HTS,
                cross_mask_B11S=memory.mask_B11S,
            )
            filled.append(layer_cache)
        return self.decoder_norm(y_BTD), Cache(tuple(filled), cache.length + num_new)

    def logits(self, hidden_BTD):
        """Returns the untied head's logits, float32."""
        return self.logits_dense(hidden_BTD)

    def _shared_bias(self, num_queries, num_keys, first_query):
        if self.config.relative_bias == RELATIVE_BIAS_PER_LAYER:
            return None
        return self.relpos_bias(num_queries, num_keys, first_query=first_query)


class Transformer(nn.Module):
    """The whole model; arguments carry T5X's feature names.

    `nmt5.evaluation.t5x_network` has the calls of T5X's own decoding on top.

    `*_positions` are accepted because packed batches hold them; relative positions within a row
    need only offsets. Dropout needs `rngs={"dropout": key}` where `enable_dropout` is set.
    """

    config: ModelConfig

    def setup(self):
        """Declares the three parts."""
        self.token_embedder = Embed(self.config)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def __call__(
        self,
        encoder_input_tokens: Int[Array, "B S"],
        decoder_input_tokens: Int[Array, "B T"],
        decoder_target_tokens: Int[Array, "B T"],
        *,
        encoder_segment_ids: Int[Array, "B S"] | None = None,
        decoder_segment_ids: Int[Array, "B T"] | None = None,
        encoder_positions: Int[Array, "B S"] | None = None,
        decoder_positions: Int[Array, "B T"] | None = None,
        enable_dropout: bool = False,
    ) -> Float[Array, "B T V"]:
        """Returns logits of the targets, float32. Training uses `hidden_states` instead.

        Args:
          encoder_input_tokens: inputs; 0 is padding.
          decoder_input_tokens: targets shifted right within each segment.
          decoder_target_tokens: targets; 0 is padding.
          encoder_segment_ids: segments of packed inputs, from 1, 0 for padding; None if unpacked.
          decoder_segment_ids: segments of packed targets.
          encoder_positions: not read.
          decoder_positions: not read.
          enable_dropout: True in training.
        """
        hidden_BTD = self.hidden_states(
            encoder_input_tokens,
            decoder_input_tokens,
            decoder_target_tokens,
            encoder_segment_ids=encoder_segment_ids,
            decoder_segment_ids=decoder_segment_ids,
            enable_dropout=enable_dropout,
        )
        return self.logits(hidden_BTD)

    def hidden_states(
        self,
        encoder_input_tokens: Int[Array, "B S"],
        decoder_input_tokens: Int[Array, "B T"],
        decoder_target_tokens: Int[Array, "B T"],
        *,
        encoder_segment_ids: Int[Array, "B S"] | None = None,
        decoder_segment_ids: Int[Array, "B T"] | None = None,
        encoder_positions: Int[Array, "B S"] | None = None,
        decoder_positions: Int[Array, "B T"] | None = None,
        enable_dropout: bool = False,
    ) -> Float[Array, "B T D"]:
        """Returns what the head reads, in the activation dtype; arguments as `__call__`."""
        # One lookup for both sides: each one's gradient is a zero-filled table of V x D.
        inputs_and_outputs = jnp.concatenate([encoder_input_tokens, decoder_input_tokens], axis=1)
        embedded = self.token_embedder(inputs_and_outputs)
        x_BSD, y_BTD = jnp.split(embedded, [encoder_input_tokens.shape[1]], axis=1)
        encoded_BSD = self._encode(x_BSD, encoder_input_tokens, encoder_segment_ids, enable_dropout)
        return self.decoder(
            y_BTD,
            encoded_BSD,
            mask=masks.decoder_mask(decoder_target_tokens, segment_ids_BT=decoder_segment_ids),
            cross_mask=masks.cross_mask(
                decoder_target_tokens,
                encoder_input_tokens,
                decoder_segment_ids_BT=decoder_segment_ids,
                encoder_segment_ids_BS=encoder_segment_ids,
            ),
            deterministic=not enable_dropout,
        )

    def encode(
        self,
        encoder_input_tokens: Int[Array, "B S"],
        encoder_segment_ids: Int[Array, "B S"] | None = None,
        *,
        enable_dropout: bool = False,
    ) -> Float[Array, "B S D"]:
        """Returns encoder states, in the activation dtype; arguments as `__call__`."""
        x_BSD = self.token_embedder(encoder_input_tokens)
        return self._encode(x_BSD, encoder_input_tokens, encoder_segment_ids, enable_dropout)

    def decode(
        self,
        encoded: Float[Array, "B S D"],
        encoder_input_tokens: Int[Array, "B S"],
        decoder_input_tokens: Int[Array, "B T"],
        decoder_target_tokens: Int[Array, "B T"],
        *,
        encoder_segment_ids: Int[Array, "B S"] | None = None,
        decoder_segment_ids: Int[Array, "B T"] | None = None,
        enable_dropout: bool = False,
    ) -> Float[Array, "B T V"]:
        """Returns logits of whole targets given encoder states; arguments as `__call__`."""
        hidden_BTD = self.decoder(
            self.token_embedder(decoder_input_tokens),
            encoded,
            mask=masks.decoder_mask(decoder_target_tokens, segment_ids_BT=decoder_segment_ids),
            cross_mask=masks.cross_mask(
                decoder_target_tokens,
                encoder_input_tokens,
                decoder_segment_ids_BT=decoder_segment_ids,
                encoder_segment_ids_BS=encoder_segment_ids,
            ),
            deterministic=not enable_dropout,
        )
        return self.logits(hidden_BTD)

    def logits(self, hidden_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns the head's logits in float32: separate, or the embedding scaled by D^-0.5."""
        if self.config.logits_via_embedding:
            return self.token_embedder.logits(hidden_BTD)
        return self.decoder.logits(hidden_BTD)

    def start_decoding(
        self, encoded: Float[Array, "B S D"], encoder_input_tokens: Int[Array, "B S"]
    ) -> Memory:
        """Returns what every `decode_step` of these sentences needs of the encoder."""
        return self.decoder.remember(encoded, mask_B11S=masks.key_mask(encoder_input_tokens))

    def decode_step(
        self, decoder_input_tokens: Int[Array, "N T"], memory: Memory, cache: Cache
    ) -> tuple[Float[Array, "N T V"], Cache]:
        """Continues N hypotheses by T positions (one, or a whole prefix).

            memory = model.apply(variables, encoded, inputs, method="start_decoding")
            cache = empty_cache(config, num_rows=rows, max_length=128)
            logits, cache = model.apply(variables, tokens, memory, cache, method="decode_step")

        Args:
          decoder_input_tokens: the next tokens; 0 (the start) first. N is the number of sentences
            in `memory`, or a multiple n of it: rows i * n ... i * n + n - 1 read sentence i, whose
            keys and values are not repeated.
          memory: from `start_decoding`.
          cache: from `empty_cache` or the step before. Rows may be reordered between steps, within
            a sentence. Its room is not checked here: beyond it the last places are overwritten.

        Returns:
          Logits (N, T, V) float32 of the tokens that follow, and the longer cache.
        """
        embedded = self.token_embedder(decoder_input_tokens)
        hidden_NTD, cache = self.decoder.step(embedded, memory, cache)
        return self.logits(hidden_NTD), cache

    def _encode(self, x_BSD, tokens_BS, segment_ids_BS, enable_dropout):
        return self.encoder(
            x_BSD,
            mask=masks.encoder_mask(tokens_BS, segment_ids_BS=segment_ids_BS),
            deterministic=not enable_dropout,
        )


def empty_cache(config: ModelConfig, *, num_rows: int, max_length: int) -> Cache:
    """Returns a cache for `num_rows` hypotheses of at most `max_length` decoder inputs each."""
    shape = (num_rows, config.num_heads, max_length, config.head_dim)
    zeros = jnp.zeros(shape, config.dtype)
    layers = tuple(KeptKeysAndValues(zeros, zeros) for _ in range(config.num_decoder_layers))
    return Cache(layers, jnp.zeros((), jnp.int32))
