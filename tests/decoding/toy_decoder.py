"""A decoder small enough to enumerate: the next id depends on the last three and the source."""

import jax.numpy as jnp
import numpy as np

from nmt5.decoding import cache as cache_lib

VOCAB = 7  # padding 0, end 1, ids 2 .. 5 are text, 6 is a padding row of the embedding
NUM_IDS = 6
PAD, EOS = 0, 1


def logits_table(seed: int, *, num_sources: int, scale: float = 2.0) -> np.ndarray:
    """Random logits (source, last but two, last but one, last, next)."""
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(num_sources, VOCAB, VOCAB, VOCAB, VOCAB))).astype(np.float32)


def toy_step(table: np.ndarray):
    """A step whose cache holds the source of each sequence and the two ids before the last."""
    table = jnp.asarray(table)

    def step(last_N, cache):
        logits_NV = table[cache["source"], cache["older"], cache["old"], last_N]
        return logits_NV, {
            "source": cache["source"],
            "older": cache["old"],
            "old": last_N,
            "index": cache["index"] + 1,
        }

    return step


def toy_cache(num_sources: int, beam_size: int = 1):
    count = num_sources * beam_size
    return {
        "source": jnp.repeat(jnp.arange(num_sources), beam_size),
        "older": jnp.zeros((count,), jnp.int32),
        "old": jnp.zeros((count,), jnp.int32),
        "index": jnp.zeros((), jnp.int32),
    }


REORDER = cache_lib.pick_rows


def log_prob(table: np.ndarray, source: int, ids: list[int]) -> float:
    """The sum of log probabilities of `ids`, computed in float64."""
    older, old, last, total = 0, 0, 0, 0.0
    for token in ids:
        row = table[source, older, old, last].astype(np.float64)
        total += row[token] - np.log(np.exp(row).sum())
        older, old, last = old, last, token
    return total
