"""The loss of a large vocabulary and its gradients in one pass: three matrix products.

The loss is a weighted sum, so its gradients are worked out beside it, and the backward pass only
multiplies by what comes in, which is 1 in a train step. For one group of tokens after the other:

    each block of the vocabulary    logits l -> running maximum m -> e = exp(l - m), kept
                                    sum of e, and e . head, both rescaled when m rises
    log Z is known                  gradient of hidden = e . head / Z - head of the targets
    each block again                gradient of the head += (hidden * exp(m - log Z)) . e

So the softmax is a factor of the hidden states and never of the logits, no logit is computed
twice, and what is kept is `e` of one group of tokens. Where all logits in float32 take no more than
0.5 GiB, a CPU makes the whole vocabulary one block: cutting blocks out of the head and putting them
into `e` and the gradient took 0.1 to 0.2 of 2.2 s with 512 tokens and 250,112 words, more than
blocks in the cache save (jax 0.10.2, 2 cores, `chunk_vocab=4096`).

On several devices the head's gradient would be added up over them once for each group; there
`nmt5.model.losses` walks over the vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmt5.core.target import target_platform
from nmt5.model.products import einsum_float32

# Of `e`: all if that is little, for one group needs no sum over groups; else this much, or this
# part of all logits in float32 if that is more.
_ALL_BYTES = 512 * 2**20
_KEPT_BYTES = 320 * 2**20
_KEPT_PART = 0.04
# Where blocks are cut, one of logits stays in a CPU's cache; an accelerator wants larger products.
_BLOCK_BYTES_CPU = 8 * 2**20
_BLOCK_BYTES_ACCELERATOR = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class OnePass:
    """What is fixed at trace time; see `nmt5.model.losses.head_cross_entropy`.

    Attributes:
      z_loss: factor of log(Z)^2.
      low: weight of every entry in the smoothed target.
      peak: what the target's own entry weighs more than that.
      layout: "DV" or "VD".
      scale: factor of the logits.
      tokens: tokens of a group.
      block: vocabulary entries of a block.
    """

    z_loss: float
    low: float
    peak: float
    layout: str
    scale: float
    tokens: int
    block: int


def choose_tokens(*, num_tokens: int, vocab: int, itemsize: int) -> int:
    """Returns how many tokens a group has, so that groups are alike and `e` stays small.

    >>> choose_tokens(num_tokens=8192, vocab=250_112, itemsize=4)
    328

    Args:
      num_tokens: all tokens N.
      vocab: entries V.
      itemsize: bytes of an entry of `e`.
    """
    if itemsize * num_tokens * vocab <= _ALL_BYTES:
        return num_tokens
    kept = max(_KEPT_BYTES, _KEPT_PART * 4 * num_tokens * vocab)
    groups = -(-num_tokens // max(1, int(kept / (itemsize * vocab))))
    return -(-num_tokens // groups)


def choose_block(*, num_tokens: int, tokens: int, vocab: int, platform: str | None = None) -> int:
    """Returns how many vocabulary entries a block has: a multiple of 256, or all.

    >>> choose_block(num_tokens=512, tokens=512, vocab=250_112, platform="cpu")
    250112
    >>> choose_block(num_tokens=8192, tokens=328, vocab=250_112, platform="cpu")
    6144

    Args:
      num_tokens: all tokens.
      tokens: those of a group.
      vocab: entries V.
      platform: "cpu", "gpu" or "tpu"; None for that of the program under construction.
    """
    on_cpu = (platform or target_platform()) == "cpu"
    if on_cpu and tokens == num_tokens and 4 * tokens * vocab <= _ALL_BYTES:
        return vocab
    block_bytes = _BLOCK_BYTES_CPU if on_cpu else _BLOCK_BYTES_ACCELERATOR
    return min(vocab, max(1, block_bytes // (4 * tokens * 256)) * 256)


def losses_and_grads(
    settings: OnePass,
    hidden_ND: Float[Array, "N D"],
    head: Float[Array, "_ _"],
    targets_N: Int[Array, "N"],
    weights_N: Float[Array, "N"],
) -> tuple[tuple[Float[Array, "N"], ...], Float[Array, "N D"], Float[Array, "_ _"]]:
    """Returns `(log Z, target's logit, highest logit, sum of logits)` and two gradients.

    The gradients are those of the weighted loss, of hidden states (their dtype) and of the head
    (float32).
    """
    num_tokens, width = hidden_ND.shape
    groups = -(-num_tokens // settings.tokens)
    missing = groups * settings.tokens - num_tokens

    def grouped(array):
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(groups, settings.tokens, *array.shape[1:])

    parts = jax.tree.map(grouped, (hidden_ND, targets_N, weights_N))
    first, rest = (jax.tree.map(lambda a, at=at: a[at], parts) for at in (0, slice(1, None)))
    d_head, outputs = _group(settings, head, jnp.zeros(head.shape, jnp.float32), *first, fresh=True)
    outputs = jax.tree.map(lambda a: a[None], outputs)
    if groups > 1:
        d_head, others = jax.lax.scan(
            lambda d_head, part: _group(settings, head, d_head, *part, fresh=False), d_head, rest
        )
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, others)
    per_token, d_hidden = outputs
    per_token = tuple(a.reshape(-1)[:num_tokens] for a in per_token)
    return per_token, d_hidden.reshape(-1, width)[:num_tokens], d_head


def _group(settings, head, d_head, hidden_ND, targets_N, weights_N, *, fresh):
    is_dv = settings.layout == "DV"
    (highest_N, total_N, target_N, sum_N, mixed_ND), kept = _blocks_forward(
        settings, head, hidden_ND, targets_N
    )
    log_z_N = highest_N + jnp.log(total_N)
    # d loss / d logit_v = of_p p_v - weight (low + peak [v is the target])
    of_p_N = weights_N * (1.0 + 2.0 * settings.z_loss * log_z_N)
    rows_ND = head[:, targets_N].T if is_dv else head[targets_N]
    d_hidden_ND = (of_p_N / total_N)[:, None] * mixed_ND
    d_hidden_ND -= (settings.peak * weights_N)[:, None] * rows_ND.astype(jnp.float32)
    if settings.low:
        every_D = jnp.sum(head, axis=1 if is_dv else 0)
        d_hidden_ND -= (settings.low * weights_N)[:, None] * every_D[None, :]
    d_head = _blocks_backward(
        settings, d_head, hidden_ND, weights_N, kept, of_p_N, log_z_N, fresh=fresh
    )
    drawn_ND = (-settings.scale * settings.peak * weights_N)[:, None] * hidden_ND.astype(
        jnp.float32
    )
    d_head = (
        d_head.at[:, targets_N].add(drawn_ND.T) if is_dv else d_head.at[targets_N].add(drawn_ND)
    )
    d_hidden_ND = (settings.scale * d_hidden_ND).astype(hidden_ND.dtype)
    return d_head, ((log_z_N, target_N, highest_N, sum_N), d_hidden_ND)


def _blocks_forward(settings, head, hidden_ND, targets_N):
    """Returns sums over the vocabulary, and `(start, e, maximum at that time)` of each block."""
    is_dv, dtype = settings.layout == "DV", hidden_ND.dtype

    def body(carry, start, size):
        highest_N, total_N, target_N, sum_N, mixed_ND = carry
        block = jax.lax.dynamic_slice_in_dim(head, start, size, axis=1 if is_dv else 0)
        block = block.astype(dtype)
        logits_NC = einsum_float32("nd,dc->nc" if is_dv else "nd,cd->nc", hidden_ND, block)
        logits_NC = logits_NC if settings.scale == 1.0 else logits_NC * settings.scale
        here_N = (targets_N >= start) & (targets_N < start + size)
        column_N = jnp.clip(targets_N - start, 0, size - 1)
        found_N = jnp.take_along_axis(logits_NC, column_N[:, None], axis=1)[:, 0]
        target_N = jnp.where(here_N, found_N, target_N)
        if settings.low:
            sum_N = sum_N + jnp.sum(logits_NC, axis=1)
        higher_N = jnp.maximum(highest_N, jnp.max(logits_NC, axis=1))
        shrunk_N = jnp.exp(highest_N - higher_N)
        e_NC = jnp.exp(logits_NC - higher_N[:, None])
        total_N = total_N * shrunk_N + jnp.sum(e_NC, axis=1)
        e_NC = e_NC.astype(dtype)
        mixed_ND = mixed_ND * shrunk_N[:, None] + einsum_float32(
            "nc,dc->nd" if is_dv else "nc,cd->nd", e_NC, block
        )
        return (higher_N, total_N, target_N, sum_N, mixed_ND), (start, e_NC, higher_N)

    zeros_N = jnp.zeros(targets_N.shape, jnp.float32)
    carry = (
        jnp.full_like(zeros_N, -jnp.inf),
        zeros_N,
        zeros_N,
        zeros_N,
        jnp.zeros(hidden_ND.shape, jnp.float32),
    )
    vocab = head.shape[1 if is_dv else 0]
    blocks, rest = divmod(vocab, settings.block)
    starts = settings.block * jnp.arange(blocks, dtype=targets_N.dtype)
    carry, kept = jax.lax.scan(lambda c, start: body(c, start, settings.block), carry, starts)
    if not rest:
        return carry, (kept, None)
    carry, last = body(carry, vocab - rest, rest)
    return carry, (kept, last)


def _blocks_backward(settings, d_head, hidden_ND, weights_N, kept, of_p_N, log_z_N, *, fresh):
    is_dv, dtype = settings.layout == "DV", hidden_ND.dtype
    hidden_DN = hidden_ND.T
    if target_platform() == "cpu":
        # Written down once: XLA's CPU products read a transposed operand slowly.
        hidden_DN = jax.lax.optimization_barrier(hidden_DN)
    drawn_D = settings.scale * settings.low * (weights_N @ hidden_ND.astype(jnp.float32))

    def body(d_head, start, e_NC, higher_N):
        factor_N = settings.scale * of_p_N * jnp.exp(higher_N - log_z_N)
        if is_dv:
            d_block = einsum_float32("dn,nc->dc", (hidden_DN * factor_N[None]).astype(dtype), e_NC)
        else:
            scaled_ND = (hidden_ND * factor_N[:, None]).astype(dtype)
            d_block = einsum_float32("nc,nd->cd", e_NC, scaled_ND)
        if settings.low:
            d_block -= drawn_D[:, None] if is_dv else drawn_D[None, :]
        axis, size = 1 if is_dv else 0, e_NC.shape[1]
        if not fresh:
            d_block += jax.lax.dynamic_slice_in_dim(d_head, start, size, axis=axis)
        return jax.lax.dynamic_update_slice_in_dim(d_head, d_block, start, axis=axis)

    alike, last = kept
    d_head, _ = jax.lax.scan(lambda d_head, block: (body(d_head, *block), None), d_head, alike)
    return d_head if last is None else body(d_head, *last)
