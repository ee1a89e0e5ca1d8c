"""Cross-entropy over a large vocabulary without holding all logits of a large batch.

mT5-small's logits for 8,192 target tokens are 7.6 GiB in float32, its head 0.5 GiB. On one device
`nmt5.model.one_pass_loss` works out loss and gradients together. On several, and where no gradient
is wanted, both passes walk over the vocabulary in chunks:

    forward    logits of a chunk -> running maximum and sum of exponentials -> log Z per token
    backward   logits of the chunk again -> dlogits -> gradient of hidden and of the head's chunk

Recomputing costs one matrix product more (4 instead of 3) and saves the traffic of the logits.
Each chunk of the head's gradient is written once, so that sharding needs one reduction per chunk.
"""

import dataclasses
import functools

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmt5.core.axes import BATCH, EMBED, VOCAB
from nmt5.core.target import num_parts_of, split_by, target_platform
from nmt5.model.one_pass_loss import OnePass, choose_block, choose_tokens, losses_and_grads
from nmt5.model.products import einsum_float32

# Chunks of logits stay in a CPU's cache; an accelerator wants larger products.
_CHUNK_BYTES = {"cpu": 8 * 2**20}
_CHUNK_BYTES_ACCELERATOR = 256 * 2**20
_MIN_CHUNK = 2048


class LossSums(struct.PyTreeNode):
    """Sums over tokens, each token counted by its weight; float32 scalars.

    Attributes:
      loss: cross-entropy plus z-loss.
      z_loss: the z-loss alone.
      correct: tokens whose target has the highest logit (ties count as correct).
      weight: the tokens.
      objective: the loss times a factor; the one that has a gradient.
    """

    loss: Float[Array, ""]
    z_loss: Float[Array, ""]
    correct: Float[Array, ""]
    weight: Float[Array, ""]
    objective: Float[Array, ""]


def head_cross_entropy(
    hidden_ND: Float[Array, "N D"],
    head: Float[Array, "_ _"],
    targets_N: Int[Array, "N"],
    weights_N: Float[Array, "N"] | Int[Array, "N"],
    *,
    factor: float | Float[Array, ""] = 1.0,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    layout: str = "DV",
    logit_scale: float = 1.0,
    vocab_shards: int = 1,
    chunk_vocab: int | None = None,
    chunk_tokens: int | None = None,
) -> LossSums:
    """Returns the loss of `targets_N` under softmax(logit_scale * hidden @ head).

    Per token, with q the target smoothed by s = `label_smoothing` (1 - s at the target, s/(V-1)
    elsewhere): loss = weight * (-sum_v q_v log p_v - entropy(q) + z_loss * log(Z)^2).
    Only `objective` has a gradient, in `hidden_ND` and `head`.

    Args:
      hidden_ND: decoder states of N tokens; their dtype is that of the matrix products, which
        accumulate in float32.
      head: kernel (D, V), or (V, D) with `layout="VD"` (tied to the embedding); float32.
      targets_N: token ids below V.
      weights_N: 1 for tokens that count, 0 for padding; any weight >= 0.
      factor: of the objective, one over all target tokens for example; data. A factor that is
        applied afterwards costs one more array of the head's size, as its gradient is there first.
      z_loss: factor of log(Z)^2, 1e-4 in T5's pre-training.
      label_smoothing: s in [0, 1).
      layout: "DV" or "VD".
      logit_scale: D^-0.5 for a tied head, else 1.
      vocab_shards: devices that hold a part of the vocabulary each; a chunk takes a piece of
        every part, so that no device waits or gathers.
      chunk_vocab: vocabulary entries per chunk and shard; None chooses from the shapes.
      chunk_tokens: tokens per group where one pass is made; None chooses from the shapes.

    Returns:
      The sums over all tokens.

    Raises:
      ValueError: shapes that do not fit, or an unknown layout.

    Source:
      https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/losses.py
      (`compute_weighted_cross_entropy`: the same loss from whole logits).
    """
    if layout not in ("DV", "VD"):
        raise ValueError(f"head_cross_entropy: layout is {layout!r}, expected 'DV' or 'VD'")
    num_tokens, width = hidden_ND.shape
    head_width, vocab = head.shape if layout == "DV" else head.shape[::-1]
    if head_width != width or targets_N.shape != (num_tokens,) or weights_N.shape != (num_tokens,):
        raise ValueError(
            f"head_cross_entropy: hidden {hidden_ND.shape}, head {head.shape} ({layout}), targets "
            f"{targets_N.shape}, weights {weights_N.shape}; expected (N, D), {layout}, (N,), (N,)"
        )
    if vocab % vocab_shards:
        raise ValueError(f"head_cross_entropy: {vocab} entries do not split over {vocab_shards}")
    per_shard = vocab // vocab_shards
    chunk = chunk_vocab or choose_chunk(num_tokens=num_tokens, vocab=per_shard)
    settings = _Settings(
        z_loss=float(z_loss),
        smoothing=float(label_smoothing),
        layout=layout,
        scale=float(logit_scale),
        shards=vocab_shards,
        chunk=min(chunk, per_shard),
        one_pass=None,
    )
    if max(vocab_shards, *(num_parts_of(axis) for axis in (BATCH, EMBED, VOCAB))) == 1:
        tokens = chunk_tokens or choose_tokens(
            num_tokens=num_tokens, vocab=vocab, itemsize=hidden_ND.dtype.itemsize
        )
        block = choose_block(num_tokens=num_tokens, tokens=tokens, vocab=vocab)
        confidence, low, _ = _smoothed(settings, vocab)
        one_pass = OnePass(
            z_loss=settings.z_loss,
            low=low,
            peak=confidence - low,
            layout=layout,
            scale=settings.scale,
            tokens=tokens,
            block=min(vocab, chunk_vocab or block),
        )
        settings = dataclasses.replace(settings, one_pass=one_pass)
    hidden_ND = split_by(hidden_ND, BATCH, None)
    factor = jnp.asarray(factor, jnp.float32)
    sums = _sums(settings, hidden_ND, head, targets_N, weights_N.astype(jnp.float32), factor)
    return jax.tree.map(jax.lax.stop_gradient, sums).replace(objective=sums.objective)


def choose_chunk(*, num_tokens: int, vocab: int, platform: str | None = None) -> int:
    """Returns how many vocabulary entries a chunk takes.

    Few enough that a chunk of logits stays small, many enough for efficient matrix products, and
    a divisor of the vocabulary if there is one between that number and half of it.

    >>> choose_chunk(num_tokens=512, vocab=250_112, platform="cpu")
    3908

    Args:
      num_tokens: tokens N of the batch.
      vocab: entries to divide.
      platform: "cpu", "gpu" or "tpu"; None for that of the program under
        construction.
    """
    chunk_bytes = _CHUNK_BYTES.get(platform or target_platform(), _CHUNK_BYTES_ACCELERATOR)
    wanted = min(vocab, max(_MIN_CHUNK, chunk_bytes // (4 * num_tokens)))
    divisors = (c for c in range(wanted, wanted // 2, -1) if vocab % c == 0)
    return next(divisors, wanted)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """All that is fixed at trace time; `one_pass` is None where the vocabulary is walked over."""

    z_loss: float
    smoothing: float
    layout: str
    scale: float
    shards: int
    chunk: int
    one_pass: OnePass | None


def _split(settings, head):
    """Views the vocabulary axis as (shards, entries per shard)."""
    if settings.layout == "DV":
        return head.reshape(head.shape[0], settings.shards, -1)
    return head.reshape(settings.shards, -1, head.shape[1])


def _walk(settings, head, body, carry):
    """Runs `body(carry, start, size)` over all chunks; the last one may be smaller."""
    vocab = head.shape[1 if settings.layout == "DV" else 0] // settings.shards
    num_chunks, rest = divmod(vocab, settings.chunk)

    def step(carry, i):
        return body(carry, i * settings.chunk, settings.chunk), None

    carry, _ = jax.lax.scan(step, carry, jnp.arange(num_chunks))
    return body(carry, vocab - rest, rest) if rest else carry


def _chunk(settings, split, start, size, dtype):
    """Returns one chunk of the head: (D, G, C) or (G, C, D) for G shards."""
    is_dv = settings.layout == "DV"
    chunk = jax.lax.dynamic_slice_in_dim(split, start, size, axis=2 if is_dv else 1).astype(dtype)
    # Cut and cast where it lies, then brought together: else the whole head travels.
    chunk = split_by(chunk, *((EMBED, VOCAB, None) if is_dv else (VOCAB, None, EMBED)))
    return split_by(chunk, None, VOCAB, None) if is_dv else split_by(chunk, VOCAB, None, None)


def _logits(settings, hidden_ND, chunk):
    equation = "nd,dgc->ngc" if settings.layout == "DV" else "nd,gcd->ngc"
    logits_NGC = split_by(einsum_float32(equation, hidden_ND, chunk), BATCH, VOCAB, None)
    return logits_NGC if settings.scale == 1.0 else logits_NGC * settings.scale


def _forward(settings, hidden_ND, head, targets_N):
    """Returns log Z, the target's logit, the highest logit and the sum of logits per token."""
    split = _split(settings, head)
    per_shard = head.size // hidden_ND.shape[1] // settings.shards
    shard_N, place_N = targets_N // per_shard, targets_N % per_shard

    def body(carry, start, size):
        best_N, total_N, target_N, sum_N = carry
        logits_NGC = _logits(
            settings, hidden_ND, _chunk(settings, split, start, size, hidden_ND.dtype)
        )
        higher_N = jnp.maximum(best_N, jnp.max(logits_NGC, axis=(1, 2)))
        exponentials_NGC = jnp.exp(logits_NGC - higher_N[:, None, None])
        total_N = total_N * jnp.exp(best_N - higher_N) + jnp.sum(exponentials_NGC, axis=(1, 2))
        here_N = (place_N >= start) & (place_N < start + size)
        column_N = jnp.clip(place_N - start, 0, size - 1)
        found_N = logits_NGC[jnp.arange(targets_N.size), shard_N, column_N]
        target_N = jnp.where(here_N, found_N, target_N)
        if settings.smoothing:
            sum_N = sum_N + jnp.sum(logits_NGC, axis=(1, 2))
        return higher_N, total_N, target_N, sum_N

    zeros_N = jnp.zeros(targets_N.shape, jnp.float32)
    start = (jnp.full_like(zeros_N, -jnp.inf), zeros_N, zeros_N, zeros_N)
    best_N, total_N, target_N, sum_N = _walk(settings, head, body, start)
    return best_N + jnp.log(total_N), target_N, best_N, sum_N


def _smoothed(settings, vocab):
    """Returns the smoothed target's weight on the target, elsewhere, and minus its entropy."""
    confidence, low = 1.0 - settings.smoothing, settings.smoothing / max(vocab - 1, 1)
    if not settings.smoothing:
        return 1.0, 0.0, 0.0
    constant = confidence * jnp.log(confidence) + (vocab - 1) * low * jnp.log(low + 1e-20)
    return confidence, low, constant


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sums(settings, hidden_ND, head, targets_N, weights_N, factor):
    per_token = _forward(settings, hidden_ND, head, targets_N)
    vocab = head.size // hidden_ND.shape[1]
    return _added_up(settings, weights_N, factor, per_token, vocab=vocab)


def _added_up(settings, weights_N, factor, per_token, *, vocab):
    log_z_N, target_N, best_N, sum_N = per_token
    confidence, low, constant = _smoothed(settings, vocab)
    entropy_N = log_z_N - (confidence - low) * target_N - low * sum_N + constant
    z_N = settings.z_loss * jnp.square(log_z_N)
    loss = jnp.sum(weights_N * (entropy_N + z_N))
    return LossSums(
        loss=loss,
        objective=factor * loss,
        z_loss=jnp.sum(weights_N * z_N),
        correct=jnp.sum(weights_N * (target_N >= best_N)),
        weight=jnp.sum(weights_N),
    )


def _sums_forward(settings, hidden_ND, head, targets_N, weights_N, factor):
    if settings.one_pass is not None:
        per_token, d_hidden_ND, d_head = losses_and_grads(
            settings.one_pass, hidden_ND, head, targets_N, factor * weights_N
        )
        residuals = (d_hidden_ND, d_head)
    else:
        per_token = _forward(settings, hidden_ND, head, targets_N)
        residuals = (hidden_ND, head, targets_N, factor * weights_N, per_token[0])
    vocab = head.size // hidden_ND.shape[1]
    return _added_up(settings, weights_N, factor, per_token, vocab=vocab), residuals


def _sums_backward(settings, residuals, cotangents):
    scale = cotangents.objective
    if settings.one_pass is not None:
        d_hidden_ND, d_head = residuals
        zeros_N = jnp.zeros(d_hidden_ND.shape[:1])
        d_hidden_ND = (scale * d_hidden_ND).astype(d_hidden_ND.dtype)
        return d_hidden_ND, scale * d_head, None, zeros_N, jnp.zeros(())
    hidden_ND, head, targets_N, weights_N, log_z_N = residuals
    dtype = hidden_ND.dtype
    split = _split(settings, head)
    per_shard = head.size // hidden_ND.shape[1] // settings.shards
    confidence, low, _ = _smoothed(settings, head.size // hidden_ND.shape[1])
    # d loss / d logit_v = weight * ((1 + 2 z log Z) p_v - q_v)
    of_target_N = weights_N * scale
    of_z_N = of_target_N * 2.0 * settings.z_loss * log_z_N
    of_p_N11 = (of_target_N + of_z_N)[:, None, None]
    of_target_N11 = of_target_N[:, None, None]
    first_1G1 = per_shard * jnp.arange(settings.shards)[None, :, None]
    is_dv = settings.layout == "DV"

    def body(carry, start, size):
        d_hidden_ND, d_split = carry
        chunk = _chunk(settings, split, start, size, dtype)
        p_NGC = jnp.exp(_logits(settings, hidden_ND, chunk) - log_z_N[:, None, None])
        columns_1GC = first_1G1 + (start + jnp.arange(size))[None, None, :]
        q_NGC = jnp.where(targets_N[:, None, None] == columns_1GC, confidence, low)
        d_logits_NGC = settings.scale * (of_p_N11 * p_NGC - of_target_N11 * q_NGC)
        d_logits_NGC = d_logits_NGC.astype(dtype)
        d_hidden_ND += split_by(
            einsum_float32("ngc,dgc->nd" if is_dv else "ngc,gcd->nd", d_logits_NGC, chunk),
            BATCH,
            None,
        )
        d_chunk = einsum_float32("nd,ngc->dgc" if is_dv else "nd,ngc->gcd", hidden_ND, d_logits_NGC)
        d_chunk = split_by(d_chunk, *((EMBED, VOCAB, None) if is_dv else (VOCAB, None, EMBED)))
        d_split = jax.lax.dynamic_update_slice_in_dim(
            d_split, d_chunk.astype(d_split.dtype), start, axis=2 if is_dv else 1
        )
        return d_hidden_ND, d_split

    start = (jnp.zeros(hidden_ND.shape, jnp.float32), jnp.zeros_like(split))
    d_hidden_ND, d_split = _walk(settings, head, body, start)
    zeros_N = jnp.zeros_like(weights_N)
    return d_hidden_ND.astype(dtype), d_split.reshape(head.shape), None, zeros_N, jnp.zeros(())


_sums.defvjp(_sums_forward, _sums_backward)
