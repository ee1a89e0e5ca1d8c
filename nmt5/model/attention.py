"""Multi-head attention as T5 has it: no 1/sqrt(K), additive relative bias, float32 softmax.

`attend` is the one function behind which implementations are chosen; all parts of the model and
all decoding go through it.
"""

import dataclasses

from flax import linen as nn
from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from nmt5.core.axes import BATCH, EMBED, JOINED_KV, LENGTH
from nmt5.core.target import knows_devices, num_parts_of, split_by, target_platform
from nmt5.model.attention_tpu import attend_tpu, fits_vector_memory
from nmt5.model.config import ModelConfig
from nmt5.model.initializers import FAN_IN_NORMAL
from nmt5.model.layers import Dense
from nmt5.model.masks import Mask
from nmt5.model.products import einsum_float32, sum_over_rows

_CAUSAL_BLOCK = 128


def attend(
    query_BTHK: Float[Array, "B T H K"],
    *,
    key_BSHK: Float[Array, "B S H K"],
    value_BSHK: Float[Array, "B S H K"],
    mask: Mask,
    bias_HTS: Float[Array, "H T S"] | None = None,
    dropout_rate: float = 0.0,
    dropout_key: Key[Array, ""] | None = None,
    backend: str = "auto",
) -> Float[Array, "B T H K"]:
    """Returns softmax(q.k + bias + mask) v for every head.

    Scores and softmax are float32; the weights are cast back before they meet the values. T5X
    computes both in the activation dtype unless `float32_attention_logits` is set.

    Args:
      query_BTHK: queries, any float dtype; the result has the same.
      key_BSHK: keys.
      value_BSHK: values.
      mask: who sees whom. Of a causal one, keys after a query's own position may be left out: what
        comes out for a query that may see no key at all then differs.
      bias_HTS: relative bias, the same for all rows; None in cross-attention.
      dropout_rate: dropout of attention weights; the mask is shared along the queries.
      dropout_key: randomness for it; None for no dropout.
      backend: "auto" and "xla" are the code below. "pallas" is `attend_tpu` in a run's programs for
        TPUs where rows are short enough, "cudnn" is JAX's fused kernel on NVIDIA GPUs (bfloat16
        only). Neither holds the weights, and neither has run on its hardware yet, so compare losses
        with "xla" before a long run. Elsewhere, and with dropout of weights, they are "xla".

    Returns:
      The attended values (B, T, H, K). The mask is data: it has no gradient.
    """
    wants_dropout = dropout_key is not None and dropout_rate > 0.0
    arrays = (query_BTHK, key_BSHK, value_BSHK)
    if not wants_dropout:
        if backend == "pallas" and _suits_tpu_kernel(query_BTHK, key_BSHK):
            return attend_tpu(*arrays, mask, bias_HTS)
        is_bfloat16 = query_BTHK.dtype == jnp.bfloat16
        if backend == "cudnn" and target_platform() == "gpu" and is_bfloat16:
            return _attend_cudnn(*arrays, mask.terms_B1TS, bias_HTS)
        if mask.causal and query_BTHK.shape[1] >= 2 * _CAUSAL_BLOCK:
            return _attend_causal(*arrays, mask.terms_B1TS, bias_HTS)
        return _attend_xla(*arrays, mask.terms_B1TS, bias_HTS)
    weights_BHTS = _weights(query_BTHK, key_BSHK, mask.terms_B1TS, bias_HTS)
    keep_BH1S = jax.random.bernoulli(
        dropout_key,
        1.0 - dropout_rate,
        (weights_BHTS.shape[0], weights_BHTS.shape[1], 1, weights_BHTS.shape[3]),
    )
    weights_BHTS *= keep_BH1S.astype(weights_BHTS.dtype) / (1.0 - dropout_rate)
    return jnp.einsum("bhts,bshk->bthk", weights_BHTS, value_BSHK)


def _suits_tpu_kernel(query_BTHK, key_BSHK):
    # On which TPU, and how rows lie over several, is known of a run's programs alone: evaluation
    # and T5X's binaries take the kernels' checkpoints too.
    if target_platform() != "tpu" or not knows_devices():
        return False
    rows, num_queries, heads, head_dim = query_BTHK.shape
    is_split_evenly = rows % num_parts_of(BATCH) == 0 and heads % num_parts_of(JOINED_KV) == 0
    is_short = fits_vector_memory(num_queries, key_BSHK.shape[1], head_dim=head_dim)
    return is_split_evenly and is_short


def _weights(query_BTHK, key_BSHK, mask_B1TS, bias_HTS):
    scores_BHTS = einsum_float32("bthk,bshk->bhts", query_BTHK, key_BSHK)
    return _softmax(scores_BHTS, mask_B1TS, bias_HTS, query_BTHK.dtype)


def _softmax(scores_BHTS, mask_B1TS, bias_HTS, dtype):
    if bias_HTS is not None:
        scores_BHTS += bias_HTS.astype(jnp.float32)[None]
    return jax.nn.softmax(scores_BHTS + mask_B1TS, axis=-1).astype(dtype)


@jax.custom_vjp
def _attend_xla(query_BTHK, key_BSHK, value_BSHK, mask_B1TS, bias_HTS):
    return _attend_xla_forward(query_BTHK, key_BSHK, value_BSHK, mask_B1TS, bias_HTS)[0]


def _attend_xla_forward(query_BTHK, key_BSHK, value_BSHK, mask_B1TS, bias_HTS):
    weights_BHTS = _weights(query_BTHK, key_BSHK, mask_B1TS, bias_HTS)
    attended_BTHK = jnp.einsum("bhts,bshk->bthk", weights_BHTS, value_BSHK)
    # A zero of the bias's dtype stands for it: its values are not needed again.
    bias_dtype = None if bias_HTS is None else jnp.zeros((), bias_HTS.dtype)
    return attended_BTHK, (
        query_BTHK,
        key_BSHK,
        value_BSHK,
        weights_BHTS,
        attended_BTHK,
        bias_dtype,
    )


def _attend_xla_backward(residuals, d_attended_BTHK):
    """The gradient by hand, which keeps less for the backward pass than what JAX derives.

    JAX keeps the softmax in float32 beside the weights. Kept for 4 x 512 positions and 6 heads of
    64 (`jax.vjp`): 19 MB here and 46 MB there in bfloat16, 38 and 60 in float32. The softmax's own
    sum, sum_s w dw, is d_attended . attended, so nothing more is needed. The bias's gradient is
    summed by `sum_over_rows`: without that JAX's took 1.4 to 1.8 times as long on 2 CPU cores; with
    it the two differ in time by no more than that busy machine's noise.
    """
    query_BTHK, key_BSHK, value_BSHK, weights_BHTS, attended_BTHK, bias_dtype = residuals
    dtype = query_BTHK.dtype
    product_BTH = jnp.sum(
        d_attended_BTHK.astype(jnp.float32) * attended_BTHK.astype(jnp.float32), axis=-1
    )
    d_weights_BHTS = einsum_float32("bthk,bshk->bhts", d_attended_BTHK, value_BSHK)
    d_scores_BHTS = weights_BHTS.astype(jnp.float32) * (
        d_weights_BHTS - product_BTH.transpose(0, 2, 1)[..., None]
    )
    d_bias_HTS = (
        None if bias_dtype is None else sum_over_rows(d_scores_BHTS).astype(bias_dtype.dtype)
    )
    d_scores_BHTS = d_scores_BHTS.astype(dtype)
    d_query_BTHK = jnp.einsum("bhts,bshk->bthk", d_scores_BHTS, key_BSHK)
    d_key_BHKS = jnp.einsum("bhkt,bhts->bhks", query_BTHK.transpose(0, 2, 3, 1), d_scores_BHTS)
    d_value_BHKS = jnp.einsum(
        "bhkt,bhts->bhks", d_attended_BTHK.transpose(0, 2, 3, 1), weights_BHTS
    )
    d_key_BSHK, d_value_BSHK = (d.transpose(0, 3, 1, 2) for d in (d_key_BHKS, d_value_BHKS))
    return d_query_BTHK, d_key_BSHK, d_value_BSHK, None, d_bias_HTS


_attend_xla.defvjp(_attend_xla_forward, _attend_xla_backward)


def _attend_causal(query_BTHK, key_BSHK, value_BSHK, mask_B1TS, bias_HTS):
    """Some queries after the others, each with the keys up to the last of them alone.

    With n blocks (n + 1) / 2n of the scores are computed: 5/8 for 512 positions.
    """
    attended = []
    for begin in range(0, query_BTHK.shape[1], _CAUSAL_BLOCK):
        some, end = slice(begin, begin + _CAUSAL_BLOCK), begin + _CAUSAL_BLOCK
        attended.append(
            _attend_xla(
                query_BTHK[:, some],
                key_BSHK[:, :end],
                value_BSHK[:, :end],
                mask_B1TS[:, :, some, :end],
                None if bias_HTS is None else bias_HTS[:, some, :end],
            )
        )
    return jnp.concatenate(attended, axis=1)


def _attend_cudnn(query_BTHK, key_BSHK, value_BSHK, mask_B1TS, bias_HTS):
    bias = mask_B1TS if bias_HTS is None else mask_B1TS + bias_HTS.astype(jnp.float32)[None]
    shape = (query_BTHK.shape[0], query_BTHK.shape[2], query_BTHK.shape[1], key_BSHK.shape[1])
    return jax.nn.dot_product_attention(
        query_BTHK,
        key_BSHK,
        value_BSHK,
        bias=jnp.broadcast_to(bias, shape).astype(query_BTHK.dtype),
        scale=1.0,
        implementation="cudnn",
    )


class KeysAndValues(struct.PyTreeNode):
    """Projected keys and values of one attention, each (B, S, H, K)."""

    key_BSHK: Float[Array, "B S H K"]
    value_BSHK: Float[Array, "B S H K"]


class KeptKeysAndValues(struct.PyTreeNode):
    """Keys and values as decoding reads them at every step, each (B, H, S, K).

    A head's positions lie together. From (B, S, H, K) XLA's CPU backend would write all of them
    down transposed for every query: 40 ms instead of 9 for 64 rows of 128 positions, 6 heads of 64
    (jax 0.10.2, 2 busy cores).
    """

    key_BHSK: Float[Array, "B H S K"]
    value_BHSK: Float[Array, "B H S K"]


class Attention(nn.Module):
    """Projections around `attend`; kernels (D, J) and (J, D), with J = h * K + k head-major."""

    config: ModelConfig

    def setup(self):
        """Declares the four projections."""
        cfg = self.config
        inward, outward = (EMBED, JOINED_KV), (JOINED_KV, EMBED)
        joined, dtype = cfg.joined_dim, cfg.dtype
        # T5 folds 1/sqrt(K) into the initial queries instead of scaling the scores.
        queries = dataclasses.replace(FAN_IN_NORMAL, factor=cfg.head_dim**-0.5)
        self.query = Dense(joined, inward, dtype, kernel_init=queries)
        self.key = Dense(joined, inward, dtype, kernel_init=FAN_IN_NORMAL)
        self.value = Dense(joined, inward, dtype, kernel_init=FAN_IN_NORMAL)
        self.out = Dense(cfg.emb_dim, outward, dtype, kernel_init=FAN_IN_NORMAL)

    def __call__(
        self,
        inputs_BTD: Float[Array, "B T D"],
        memory_BSD: Float[Array, "B S D"],
        *,
        mask: Mask,
        bias_HTS: Float[Array, "H T S"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Lets every input position read `memory_BSD` (the inputs themselves: self-attention)."""
        return self.read(
            inputs_BTD,
            self.project(memory_BSD),
            mask=mask,
            bias_HTS=bias_HTS,
            deterministic=deterministic,
        )

    def project(self, memory_BSD: Float[Array, "B S D"]) -> KeysAndValues:
        """Returns keys and values of the memory, to be kept while decoding."""
        return KeysAndValues(self._heads(self.key(memory_BSD)), self._heads(self.value(memory_BSD)))

    def read(
        self,
        inputs_BTD: Float[Array, "B T D"],
        memory: KeysAndValues,
        *,
        mask: Mask,
        bias_HTS: Float[Array, "H T S"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """As `__call__`, from keys and values that are projected already."""
        cfg = self.config
        wants_dropout = not deterministic and cfg.dropout_rate > 0.0
        attended_BTHK = attend(
            self._heads(self.query(inputs_BTD)),
            key_BSHK=memory.key_BSHK,
            value_BSHK=memory.value_BSHK,
            mask=mask,
            bias_HTS=bias_HTS,
            dropout_rate=cfg.dropout_rate,
            dropout_key=self.make_rng("dropout") if wants_dropout else None,
            backend=cfg.attention_backend,
        )
        return self.out(attended_BTHK.reshape(*inputs_BTD.shape[:2], cfg.joined_dim))

    def keep(self, memory_BSD: Float[Array, "B S D"]) -> KeptKeysAndValues:
        """Returns keys and values of the memory as `read_kept` takes them."""
        found = self.project(memory_BSD)
        return KeptKeysAndValues(
            found.key_BSHK.transpose(0, 2, 1, 3), found.value_BSHK.transpose(0, 2, 1, 3)
        )

    def read_kept(
        self,
        inputs_BTD: Float[Array, "B T D"],
        memory: KeptKeysAndValues,
        *,
        mask_B1TS: Float[Array, "B 1 #T S"],
        bias_HTS: Float[Array, "H T S"] | None = None,
    ) -> Float[Array, "B T D"]:
        """As `read`, without dropout, from what `keep` returned.

        With n times as many rows as the memory has (n hypotheses for each sentence, side by side),
        the hypotheses count as further queries: the memory is not repeated.
        """
        query_BTHK = self._heads(self.query(inputs_BTD))
        rows = memory.key_BHSK.shape[0]
        query_BTHK = query_BTHK.reshape(rows, -1, *query_BTHK.shape[2:])
        scores_BHTS = einsum_float32("bthk,bhsk->bhts", query_BTHK, memory.key_BHSK)
        weights_BHTS = _softmax(scores_BHTS, mask_B1TS, bias_HTS, query_BTHK.dtype)
        attended_BTHK = jnp.einsum("bhts,bhsk->bthk", weights_BHTS, memory.value_BHSK)
        return self.out(attended_BTHK.reshape(*inputs_BTD.shape[:2], self.config.joined_dim))

    def read_next(
        self,
        inputs_BTD: Float[Array, "B T D"],
        cache: KeptKeysAndValues,
        *,
        length: Int[Array, ""],
        mask_B1TS: Float[Array, "B 1 #T S"],
        bias_HTS: Float[Array, "H T S"],
    ) -> tuple[Float[Array, "B T D"], KeptKeysAndValues]:
        """Self-attention of the next T positions of a row whose first `length` are in the cache.

        Args:
          inputs_BTD: the next positions, at offsets `length`...`length` + T - 1.
          cache: room for all positions S of a row; the first `length` are filled.
          length: how many are filled.
          mask_B1TS: hides cache places after each query.
          bias_HTS: bias of these queries over all S places.

        Returns:
          The result (B, T, D), and the cache with the new positions in it.
        """
        new = self.keep(inputs_BTD)
        cache = jax.tree.map(
            lambda held, add: jax.lax.dynamic_update_slice_in_dim(held, add, length, axis=2),
            cache,
            new,
        )
        return self.read_kept(inputs_BTD, cache, mask_B1TS=mask_B1TS, bias_HTS=bias_HTS), cache

    def _heads(self, joined_BTJ):
        cfg = self.config
        heads_BTHK = joined_BTJ.reshape(*joined_BTJ.shape[:2], cfg.num_heads, cfg.head_dim)
        return split_by(heads_BTHK, BATCH, LENGTH, JOINED_KV, None)
