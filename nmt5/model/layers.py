"""The small parts: dense projection, RMS norm, feed-forward block, embedding, relative bias.

Parameter names, shapes, logical axes and initialisers are T5X's.

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5/layers.py
"""

from collections.abc import Callable

from flax import linen as nn
from flax.linen.partitioning import param_with_axes
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmt5.core.axes import (
    ACTIVATION_EMBED,
    BATCH,
    EMBED,
    HEADS,
    LENGTH,
    MLP,
    RELPOS_BUCKETS,
    VOCAB,
)
from nmt5.core.target import num_parts_of, split_by
from nmt5.model.config import ModelConfig
from nmt5.model.initializers import (
    FAN_AVG_UNIFORM,
    FAN_IN_TRUNCATED,
    ONES,
    UNIT_NORMAL,
    Initializer,
)
from nmt5.model.positions import bucket_table
from nmt5.model.products import project

NORM_EPSILON = 1e-6

_ACTIVATIONS: dict[str, Callable] = {
    "gelu": nn.gelu,  # the tanh approximation, as T5X and Hugging Face's "gelu_new"
    "relu": nn.relu,
    "silu": nn.silu,
    "linear": lambda x: x,
}


def parameter(
    module: nn.Module,
    name: str,
    initializer: Initializer,
    shape: tuple[int, ...],
    *,
    axes: tuple[str, ...],
) -> Float[Array, "..."]:
    """Declares a float32 parameter of `module` with its logical axes; returns its value.

    The initialiser is sown beside it, for `nmt5.model.parameters` to draw from.
    """
    module.sow("intermediates", name, initializer, init_fn=tuple, reduce_fn=lambda _, new: new)
    return param_with_axes(name, initializer, shape, jnp.float32, axes=axes, module=module)


class Dense(nn.Module):
    """A projection of the last axis without bias; the kernel is kept in float32.

    Attributes:
      features: size of the new last axis.
      axes: logical axes of the kernel.
      dtype: dtype of the product.
      kernel_init: initialiser of the kernel.
    """

    features: int
    axes: tuple[str, str]
    dtype: str = "float32"
    kernel_init: Initializer = FAN_IN_TRUNCATED

    @nn.compact
    def __call__(self, inputs: Float[Array, "... I"]) -> Float[Array, "... O"]:
        """Returns `inputs` times the kernel."""
        shape = (inputs.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape, axes=self.axes)
        return project(inputs.astype(self.dtype), kernel.astype(self.dtype))


class RMSNorm(nn.Module):
    """Divides by the root mean square, in float32; casts, *then* scales, as T5X does."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, inputs_BTD: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Returns the normalised input in `dtype`."""
        scale_D = parameter(self, "scale", ONES, (inputs_BTD.shape[-1],), axes=(EMBED,))
        wide = inputs_BTD.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = (wide * jax.lax.rsqrt(mean_square + NORM_EPSILON)).astype(self.dtype)
        broadcast = (1,) * (inputs_BTD.ndim - 1) + scale_D.shape
        return normed * scale_D.astype(self.dtype).reshape(broadcast)


class FeedForward(nn.Module):
    """T5's feed-forward block: plain (one activation) or gated (product of several branches)."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs_BTD: Float[Array, "B T D"], *, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """Returns `wo(dropout(act_0(wi_0 x) * act_1(wi_1 x) ...))`."""
        cfg = self.config
        hidden_BTF = None
        for i, activation in enumerate(cfg.mlp_activations):
            name = "wi" if len(cfg.mlp_activations) == 1 else f"wi_{i}"
            branch = Dense(cfg.mlp_dim, (EMBED, MLP), cfg.dtype, name=name)(inputs_BTD)
            branch = _ACTIVATIONS[activation](branch)
            hidden_BTF = branch if hidden_BTF is None else hidden_BTF * branch
        hidden_BTF = split_by(hidden_BTF, BATCH, LENGTH, MLP)
        hidden_BTF = length_dropout(cfg)(hidden_BTF, deterministic=deterministic)
        return Dense(cfg.emb_dim, (MLP, EMBED), cfg.dtype, name="wo")(hidden_BTF)


class Embed(nn.Module):
    """Token embeddings, read by gather: its gradient touches only the rows in the batch."""

    config: ModelConfig

    def setup(self):
        """Declares the table (V, D)."""
        cfg = self.config
        shape = (cfg.vocab_size, cfg.emb_dim)
        self.embedding = parameter(self, "embedding", UNIT_NORMAL, shape, axes=(VOCAB, EMBED))

    def __call__(self, tokens_BT: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Returns the rows of `tokens_BT`, in the activation dtype.

        An id outside the table gives NaN, so that a wrong vocabulary is seen at the first step.
        """
        rows_BTD = _lookup(
            self.embedding, tokens_BT, num_parts=num_parts_of(VOCAB), dtype=self.config.dtype
        )
        rows_BTD = split_by(rows_BTD, BATCH, LENGTH, EMBED)
        return split_by(rows_BTD, BATCH, LENGTH, ACTIVATION_EMBED)

    def logits(self, hidden_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns the tied head's logits, scaled by D^-0.5, in float32."""
        hidden_BTD = hidden_BTD.astype(jnp.float32) * self.config.emb_dim**-0.5
        return jnp.einsum("btd,vd->btv", hidden_BTD, self.embedding)


def _lookup(table_VD, tokens_BT, *, num_parts, dtype):
    """Reads rows of a table whose first axis lies on `num_parts` devices: rows travel, not parts.

    Left to itself, XLA gathered half of the table for one of two row shapes (jax 0.10.2, TPU).
    """
    if num_parts == 1:
        return table_VD.at[tokens_BT].get(mode="fill", fill_value=jnp.nan).astype(dtype)
    size = table_VD.shape[0] // num_parts
    table_GVD = split_by(table_VD.reshape(num_parts, size, -1), VOCAB, None, EMBED)

    def look_up(part_VD, number):
        is_here_BT = tokens_BT // size == number
        rows_BTD = part_VD.at[tokens_BT % size].get(mode="promise_in_bounds")
        return jnp.where(is_here_BT[..., None], rows_BTD.astype(dtype), 0.0)

    rows_GBTD = jax.vmap(look_up)(table_GVD, jnp.arange(num_parts))
    rows_BTD = jnp.sum(split_by(rows_GBTD, VOCAB, BATCH, LENGTH, EMBED), axis=0)
    is_known_BT = (tokens_BT >= 0) & (tokens_BT < table_VD.shape[0])
    return jnp.where(is_known_BT[..., None], rows_BTD, jnp.nan)


class RelativeBias(nn.Module):
    """The attention bias of each head for each bucket of relative positions."""

    config: ModelConfig
    bidirectional: bool

    @nn.compact
    def __call__(
        self, num_queries: int, num_keys: int, *, first_query: int | Int[Array, ""] = 0
    ) -> Float[Array, "H T S"]:
        """Returns the bias of queries from `first_query` on, over keys 0...S-1."""
        cfg = self.config
        table_HR = parameter(
            self,
            "rel_embedding",
            FAN_AVG_UNIFORM,
            (cfg.num_heads, cfg.relative_buckets),
            axes=(HEADS, RELPOS_BUCKETS),
        )
        buckets_TS = bucket_table(
            num_queries=num_queries,
            num_keys=num_keys,
            first_query=first_query,
            bidirectional=self.bidirectional,
            num_buckets=cfg.relative_buckets,
            max_distance=cfg.relative_max_distance,
        )
        # Cast afterwards: a bucket's gradient is a sum over up to T S positions, and in bfloat16 a
        # sum of equal terms stops growing at 256 of them.
        return table_HR[:, buckets_TS].astype(cfg.dtype)


def length_dropout(config: ModelConfig) -> nn.Dropout:
    """Returns dropout whose mask is shared along the length axis, as at most places in T5X."""
    return nn.Dropout(rate=config.dropout_rate, broadcast_dims=(-2,))
