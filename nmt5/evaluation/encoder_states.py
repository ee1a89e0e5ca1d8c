"""One vector per text: the mean of an encoder layer's states over its tokens.

The states of a layer that is not the last go through the encoder's final norm too: without it the
sizes of T5's residual stream, which grow from layer to layer, would decide.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.decoding.batching import WIDTHS, batches_by_length
from nmt5.model.config import ModelConfig
from nmt5.model.network import Transformer

# What a score that rests on these vectors must say.
POOLING = "mean over tokens, end of sequence read but not averaged"


def layer_name(layer: int | None) -> str:
    """Returns a layer as signatures say it."""
    return "last" if layer is None else str(layer)


def mean_states(
    params: Mapping[str, Any],
    *,
    config: ModelConfig,
    token_lists: Sequence[Sequence[int]],
    layer: int | None = None,
    eos: int = 1,
    pad: int = 0,
    max_input_tokens: int = 256,
    batch_rows: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Encodes texts and averages the states of each one's tokens.

    The end of sequence is given to the encoder, as in training, but not averaged: it is the same
    in all texts. The mean of an empty text is the state of its end of sequence.

    Args:
      params: the model's parameters.
      config: the model.
      token_lists: ids without end of sequence and without task prefix.
      layer: whose states, from 1; None for the last.
      eos: id of the end of a sequence.
      pad: id of padding.
      max_input_tokens: longer texts are cut; end of sequence included.
      batch_rows: texts encoded together.
      progress: called with (texts done, all texts) after each batch.

    Returns:
      float32 (texts, D), in the order of the texts.

    Raises:
      ConfigError: the encoder has no such layer.
    """
    if layer is not None:
        if not 1 <= layer <= config.num_encoder_layers:
            raise ConfigError(
                f"encoder states: layer {layer}, expected 1 to {config.num_encoder_layers}"
            )
        # A shorter encoder with the same parameters; what it does not name is not read.
        config = dataclasses.replace(config, num_encoder_layers=layer)
    longest = min(max_input_tokens, WIDTHS[-1]) - 1
    cut = [list(tokens[:longest]) for tokens in token_lists]
    means_ND = np.zeros((len(cut), config.emb_dim), np.float32)
    num_done = 0
    for batch in batches_by_length(cut, rows=batch_rows, eos=eos, pad=pad):
        found = _means(params, batch.tokens_BS, config=config, eos=eos, pad=pad)
        means_ND[batch.indices] = np.asarray(found)[: len(batch.indices)]
        num_done += len(batch.indices)
        if progress is not None:
            progress(num_done, len(cut))
    return means_ND


@functools.partial(jax.jit, static_argnames=("config", "eos", "pad"))
def _means(
    params: Mapping[str, Any],
    tokens_BS: Int[Array, "B S"],
    *,
    config: ModelConfig,
    eos: int,
    pad: int,
) -> Float[Array, "B D"]:
    states_BSD = Transformer(config).apply({"params": params}, tokens_BS, method="encode")
    weights_BS = ((tokens_BS != pad) & (tokens_BS != eos)).astype(jnp.float32)
    empty_B1 = jnp.sum(weights_BS, axis=1, keepdims=True) == 0
    weights_BS = jnp.where(empty_B1, (tokens_BS == eos).astype(jnp.float32), weights_BS)
    sums_BD = jnp.einsum("bs,bsd->bd", weights_BS, states_BSD.astype(jnp.float32))
    return sums_BD / jnp.sum(weights_BS, axis=1, keepdims=True)
