"""The parameter tree of a configuration: its shapes, logical axes, initial values and head."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import ModelConfig
from nmt5.model.network import Transformer


@functools.partial(jax.jit, static_argnames="config")
def init_variables(config: ModelConfig, rng: Key[Array, ""]) -> dict[str, Any]:
    """Returns Flax variables: `params`, and `params_axes` with T5X's logical axis names.

    Traceable, and traced once for a configuration: call it inside `jax.jit` with output shardings,
    or with `jax.eval_shape`.
    """
    token = jnp.ones((1, 1), jnp.int32)
    return Transformer(config).init(rng, token, token, token)


def init_params(config: ModelConfig, rng: Key[Array, ""]) -> dict[str, Any]:
    """Returns initial parameters (T5X's distributions), a nested dictionary of float32 arrays."""
    return init_variables(config, rng)["params"]


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


def _abstract_variables(config: ModelConfig) -> dict[str, Any]:
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(functools.partial(init_variables, config), key)


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
