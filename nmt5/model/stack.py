"""Layers that differ in their parameters only: one after the other, scanned, or recomputed.

However they run, they are the same modules with the same parameters: `layers_0`, `layers_1` ... in
the tree, in the optimizer and on disk. Scanned, the parameters are stacked while a step computes,
and the program holds one layer instead of all: with 24 + 24 layers of width 128, gradients were
traced and compiled in 10 s instead of 21 on 2 CPU cores. The price is one more copy of the layers'
parameters, in the activation dtype. Decoding step by step runs layer after layer in any case.
"""

from collections.abc import Callable

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmt5.core.axes import ACTIVATION_EMBED, BATCH, LENGTH
from nmt5.core.target import split_by
from nmt5.model.config import REMAT_FULL, REMAT_MINIMAL, REMAT_NONE, ModelConfig

_ROWS = (BATCH, LENGTH, ACTIVATION_EMBED)
# What the backward pass finds kept of the forward pass; all else it computes again.
_KEPT = {
    REMAT_FULL: jax.checkpoint_policies.nothing_saveable,
    REMAT_MINIMAL: jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def run_layers(
    stack: nn.Module, x_BTD: Float[Array, "B T D"], *, deterministic: bool, **arguments
) -> Float[Array, "B T D"]:
    """Returns what comes out of the last layer, as `config.scan_layers` and `config.remat` say.

    Args:
      stack: bound module with a `config` and with `layers` of one class.
      x_BTD: input of the first layer.
      deterministic: False for dropout.
      **arguments: further keyword arguments of every layer.
    """
    config, layers = stack.config, stack.layers
    arguments["deterministic"] = deterministic
    plain = config.remat == REMAT_NONE and not config.scan_layers
    if plain or stack.is_initializing():
        for layer in layers:
            x_BTD = split_by(layer(x_BTD, **arguments), *_ROWS)
        return x_BTD
    wants_dropout = not deterministic and config.dropout_rate > 0.0
    dropout_key = stack.make_rng("dropout") if wants_dropout else None
    template = layers[0].clone(parent=None, name=None)

    def apply(x_BTD, params, key):
        rngs = None if key is None else {"dropout": key}
        x_BTD = split_by(x_BTD, *_ROWS)
        return split_by(template.apply({"params": params}, x_BTD, rngs=rngs, **arguments), *_ROWS)

    apply = _recomputing(apply, config)
    params = [layer.variables["params"] for layer in layers]
    if dropout_key is None:
        keys = [None] * len(layers)
    else:
        keys = jax.random.split(dropout_key, len(layers))
    if not config.scan_layers:
        for layer_params, key in zip(params, keys, strict=True):
            x_BTD = apply(x_BTD, layer_params, key)
        return x_BTD
    # Every use of a layer's parameter begins with this cast.
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack([a.astype(config.dtype) for a in leaves]), *params
    )
    scanned = (stacked, None if dropout_key is None else keys)
    return jax.lax.scan(lambda x_BTD, own: (apply(x_BTD, *own), None), x_BTD, scanned)[0]


def _recomputing(apply: Callable, config: ModelConfig) -> Callable:
    if config.remat not in _KEPT:
        return apply
    # In a loop XLA cannot merge a layer's second computation with its first; elsewhere it would.
    return jax.checkpoint(apply, policy=_KEPT[config.remat], prevent_cse=not config.scan_layers)
