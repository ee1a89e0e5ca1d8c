"""The parameter tree of a configuration: its shapes, logical axes, initial values and head."""

from collections.abc import Mapping
import concurrent.futures
import functools
import os
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.model.config import ModelConfig
from nmt5.model.network import Transformer

# Parameters are drawn at once by so many threads; each holds one of them.
_MAX_THREADS = 8


def init_params(
    config: ModelConfig, *, seed: int, shardings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns initial parameters (T5X's distributions), a nested dictionary of float32 arrays.

    Each parameter has a generator of its own, from the seed and its path: its values depend on
    neither the other parameters nor the devices.

    Args:
      config: the model.
      seed: of all parameters.
      shardings: tree of shardings, one for each parameter; None puts all on JAX's first device.
    """
    variables = _abstract_variables(config)
    initializers = flatten_paths(variables["intermediates"])
    placed_by = None if shardings is None else flatten_paths(shardings)

    def make(item):
        path, leaf = item
        generator = np.random.default_rng([seed % 2**64, zlib.crc32(path.encode())])
        values = initializers[path].draw(generator, leaf.shape)
        if placed_by is None:
            return jnp.asarray(values)
        return jax.make_array_from_callback(leaf.shape, placed_by[path], values.__getitem__)

    shapes = param_shapes(config)
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return unflatten_paths(dict(zip(shapes, pool.map(make, shapes.items()), strict=True)))


def param_shapes(config: ModelConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `{path: shape and dtype}` of every parameter, without allocating any."""
    return flatten_paths(_abstract_variables(config)["params"])


def param_axes(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Returns `{path: logical axis names}` of every parameter.

    >>> from nmt5.model.config import model_config
    >>> param_axes(model_config("tiny"))["encoder/layers_0/attention/query/kernel"]
    ('embed', 'joined_kv')
    """
    axes = flatten_paths(_abstract_variables(config)["params_axes"])
    return {path.removesuffix("_axes"): tuple(leaf.names) for path, leaf in axes.items()}


@functools.cache
def _abstract_variables(config: ModelConfig) -> dict[str, Any]:
    """Returns Flax's variables without values; their initialisers are the "intermediates"."""
    token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    init = functools.partial(
        Transformer(config).init, mutable=["params", "params_axes", "intermediates"]
    )
    return jax.eval_shape(init, key, token, token, token)


def num_params(config: ModelConfig) -> int:
    """Returns the number of parameters.

    >>> from nmt5.model.config import model_config
    >>> num_params(model_config("mt5_small"))
    300176768
    """
    return sum(leaf.size for leaf in param_shapes(config).values())


def output_head(params: dict[str, Any], config: ModelConfig) -> Float[Array, "_ _"]:
    """Returns the kernel of the head as stored: (D, V), or (V, D) where it is the embedding.

    Pass `head_layout(config)` and `head_scale(config)` to the loss along with it.
    """
    if config.logits_via_embedding:
        return params["token_embedder"]["embedding"]
    return params["decoder"]["logits_dense"]["kernel"]


def head_layout(config: ModelConfig) -> str:
    """Returns "VD" for a tied head, "DV" for a separate one."""
    return "VD" if config.logits_via_embedding else "DV"


def head_scale(config: ModelConfig) -> float:
    """Returns the factor of the logits: D^-0.5 for a tied head, 1 for a separate one."""
    return config.emb_dim**-0.5 if config.logits_via_embedding else 1.0
