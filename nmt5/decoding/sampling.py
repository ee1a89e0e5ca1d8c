"""Random sequences: temperature, the k best ids, the nucleus of probability p."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nmt5.core.errors import ConfigError
from nmt5.decoding.cache import Cache, ReorderFunction, StepFunction, allowed_log_probs
from nmt5.decoding.greedy import Decoded, choose_each


def keep_top_k(log_probs_NV: Float[Array, "N V"], *, top_k: int) -> Float[Array, "N V"]:
    """Puts all but the `top_k` best of each row at minus infinity (ties of the last stay)."""
    kept = min(top_k, log_probs_NV.shape[-1])
    worst_N1 = jax.lax.top_k(log_probs_NV, kept)[0][:, -1:]
    return jnp.where(log_probs_NV < worst_N1, -jnp.inf, log_probs_NV)


def keep_top_p(log_probs_NV: Float[Array, "N V"], *, top_p: float) -> Float[Array, "N V"]:
    """Keeps the fewest best ids of each row whose probabilities reach `top_p` together.

    Args:
      log_probs_NV: rows need not be normalised.
      top_p: probability in (0, 1].

    Returns:
      The rows with all other ids at minus infinity; the best id always stays.
    """
    sorted_NV = -jnp.sort(-log_probs_NV, axis=-1)
    probs_NV = jax.nn.softmax(sorted_NV, axis=-1)
    before_NV = jnp.cumsum(probs_NV, axis=-1) - probs_NV
    worst_N1 = jnp.min(jnp.where(before_NV < top_p, sorted_NV, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(log_probs_NV < worst_N1, -jnp.inf, log_probs_NV)


def sample(
    step: StepFunction,
    *,
    keys_N: jax.Array,
    cache: Cache,
    reorder: ReorderFunction,
    max_tokens: int,
    num_ids: int,
    eos: int,
    pad: int = 0,
    real_N: Bool[Array, "N"] | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Decoded:
    """Draws one sequence per key.

    Each sequence has its own key, so what is drawn for a source does not depend on the batch that
    it travels in.

    Args:
      step: the model's decoder for one position.
      keys_N: N typed random keys.
      cache: the decoder's cache before the first position.
      reorder: picks sequences out of a cache.
      max_tokens: the longest output, end of sequence included.
      num_ids: ids of the vocabulary; larger ones are never written.
      eos: id of the end of a sequence.
      pad: id of padding.
      real_N: False for rows that only fill up the array; None: all real.
      temperature: divides the log probabilities; towards 0 the draw becomes greedy.
      top_k: draw from this many best ids only; 0 for all.
      top_p: draw from the nucleus of this probability only; 1 for all.

    Returns:
      Ids, and the sum of their log probabilities before temperature and cuts.

    Raises:
      ConfigError: a setting is out of range.
    """
    check_sampling(temperature=temperature, top_k=top_k, top_p=top_p)

    def choose(logits_NV: Float[Array, "N V"], position: Int[Array, ""], rows_N: Int[Array, "N"]):
        log_probs_NV = allowed_log_probs(logits_NV, num_ids=num_ids, pad=pad)
        scaled_NV = log_probs_NV / temperature
        if top_k:
            scaled_NV = keep_top_k(scaled_NV, top_k=top_k)
        if top_p < 1:
            scaled_NV = keep_top_p(scaled_NV, top_p=top_p)
        step_keys_N = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_N[rows_N], position)
        chosen_N = jax.vmap(jax.random.categorical)(step_keys_N, scaled_NV)
        return chosen_N, jnp.take_along_axis(log_probs_NV, chosen_N[:, None], axis=1)[:, 0]

    return choose_each(
        step,
        choose,
        cache=cache,
        reorder=reorder,
        num_sequences=keys_N.shape[0],
        max_tokens=max_tokens,
        eos=eos,
        pad=pad,
        real_N=real_N,
    )


def check_sampling(*, temperature: float, top_k: int, top_p: float) -> None:
    """Raises `ConfigError` unless temperature > 0, top_k >= 0 and 0 < top_p <= 1."""
    if not temperature > 0:
        raise ConfigError(f"sampling: temperature is {temperature}; it must be above 0")
    if top_k < 0:
        raise ConfigError(f"sampling: top_k is {top_k}; it must be 0 (all ids) or more")
    if not 0 < top_p <= 1:
        raise ConfigError(f"sampling: top_p is {top_p}; it must be in (0, 1]")
