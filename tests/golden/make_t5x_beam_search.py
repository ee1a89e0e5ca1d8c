"""Writes t5x_beam_search.npz by running T5X's own beam search on the toy decoder of the tests.

    PYTHONPATH=<google-research/t5x at cc342d4> python tests/golden/make_t5x_beam_search.py

Only `t5x/decoding.py` and `t5x/binary_search.py` are imported.
"""

import functools
import importlib.util
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from t5x import decoding

HERE = pathlib.Path(__file__).parent
_path = HERE.parent / "decoding" / "toy_decoder.py"
_spec = importlib.util.spec_from_file_location("toy_decoder", _path)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

NUM_SOURCES, MAX_TOKENS = 60, 12


def main():
    table = toy.logits_table(3, num_sources=NUM_SOURCES, scale=3.0)
    table[..., [toy.PAD, toy.NUM_IDS]] = -40.0  # T5X could write these, nmt5 cannot
    arrays = {}

    def decode(table_of_source, *, alpha, beam_size):
        """One source alone: in a batch the last one to finish would hide when others stop."""
        step = toy.toy_step(table_of_source[None])
        cache = toy.toy_cache(1)
        cache["cache_index"] = cache.pop("index")  # the name of a leaf that T5X leaves alone

        def tokens_to_logits(state):
            flat = dict(state.cache)
            flat["index"] = flat.pop("cache_index")
            logits, new = step(state.cur_token[:, 0], flat)
            new["cache_index"] = new.pop("index")
            return logits, new

        tokens, scores = decoding.beam_search(
            jnp.zeros((1, MAX_TOKENS), jnp.int32),
            cache,
            tokens_to_logits,
            eos_id=toy.EOS,
            num_decodes=beam_size,
            alpha=alpha,
        )
        return tokens[0, ::-1], scores[0, ::-1]

    for alpha, beam_size in itertools.product((0.0, 0.6, 1.0, 2.0), (1, 2)):
        run = jax.vmap(functools.partial(decode, alpha=alpha, beam_size=beam_size))
        tokens, scores = jax.jit(run)(jnp.asarray(table))
        name = f"alpha{alpha}_beam{beam_size}"
        arrays[f"tokens_{name}"] = np.asarray(tokens, np.int8)
        arrays[f"scores_{name}"] = np.asarray(scores)
    np.savez_compressed(HERE / "t5x_beam_search.npz", **arrays)


if __name__ == "__main__":
    main()
