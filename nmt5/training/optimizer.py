"""Adafactor as T5 trains with it, put together from optax's parts.

For a gradient g of a parameter p, at the t-th update (t from 1):

    d = 1 - t^-0.8                       v = d v + (1 - d) (g^2 + 1e-30)     (factored if large)
    u = g / sqrt(v)                      u = u / max(1, RMS(u) / 1.0)
    p = p - rate(step) max(RMS(p), 1e-3) u

`optax.adafactor` is the same chain; it is written out here because the learning rate must follow
the run's step, not the count of updates (the two differ after a skipped step or a fresh start
from a checkpoint), and because the state then is a plain dictionary that a checkpoint can name.

t counts the updates made with these second moments. That is T5X's `step - step_offset + 1` with
`step_offset` set to the step at which they were made, so no setting is needed for a continued run.

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/adafactor.py
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.training.adafactor import (
    Slots,
    SomeRows,
    factored_axes,
    parameters_are_whole,
    scaled_update,
)
from nmt5.training.rounding import round_at_random
from nmt5.training.schedules import SCHEDULES

Params = Mapping[str, Any]

_SLOTS = ("v_row", "v_col", "v")
_DTYPES = ("float32", "bfloat16")
# Entries of a parameter that costs more to compile an update for than to copy.
_SMALL_SIZE = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adafactor and its learning rate; the defaults are mT5's pre-training.

    Attributes:
      schedule: a name of `nmt5.training.schedules.SCHEDULES`.
      learning_rate: base of the schedule, a factor of each parameter's own scale.
      warmup_steps: see the schedule.
      schedule_offset_steps: added to the step before the schedule sees it, for example 1,000,000
        to go on where the public checkpoints end.
      decay_rate: exponent of the second moments' decay.
      clipping_threshold: largest RMS of an update before scaling; None does not clip.
      multiply_by_parameter_scale: False makes the learning rate absolute.
      min_parameter_scale: smallest scale of a parameter.
      epsilon: added to squared gradients.
      min_dim_size_to_factor: both largest axes must have this size for factored moments.
      beta1: decay of the momentum; None keeps no momentum.
      statistics_dtype: "float32", or "bfloat16" to keep moments and momentum in half the memory,
        rounded at random so that they still follow small changes; computed in float32 all the same.
    """

    schedule: str = "inverse_square_root"
    learning_rate: float = 1.0
    warmup_steps: int = 10_000
    schedule_offset_steps: int = 0
    decay_rate: float = 0.8
    clipping_threshold: float | None = 1.0
    multiply_by_parameter_scale: bool = True
    min_parameter_scale: float = 1e-3
    epsilon: float = 1e-30
    min_dim_size_to_factor: int = 128
    beta1: float | None = None
    statistics_dtype: str = "float32"

    def __post_init__(self):
        faults = []
        if self.schedule not in SCHEDULES:
            faults.append(unknown_name("schedule", self.schedule, SCHEDULES))
        if not self.learning_rate >= 0:
            faults.append(f"learning_rate is {self.learning_rate}, expected 0 or more")
        for name in ("warmup_steps", "schedule_offset_steps"):
            if getattr(self, name) < 0:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 or more")
        if not 0 < self.decay_rate <= 1:
            faults.append(f"decay_rate is {self.decay_rate}, expected 0 < rate <= 1")
        if self.clipping_threshold is not None and not self.clipping_threshold > 0:
            faults.append(f"clipping_threshold is {self.clipping_threshold}, expected above 0")
        if self.beta1 is not None and not 0 < self.beta1 < 1:
            faults.append(f"beta1 is {self.beta1}, expected 0 < beta1 < 1, or None")
        if self.statistics_dtype not in _DTYPES:
            faults.append(unknown_name("statistics_dtype", self.statistics_dtype, _DTYPES))
        if faults:
            raise ConfigError("OptimizerConfig: " + "; ".join(faults))

    def rate(self, step: int | jax.Array) -> jax.Array:
        """Returns the learning rate of the update that leads from `step` to `step + 1`."""
        return SCHEDULES[self.schedule](
            step + self.schedule_offset_steps,
            base=self.learning_rate,
            warmup_steps=self.warmup_steps,
        )


def _second_moments(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.scale_by_factored_rms(
        decay_rate=config.decay_rate,
        min_dim_size_to_factor=config.min_dim_size_to_factor,
        epsilon=config.epsilon,
    )


def init_optimizer(params: Params, *, config: OptimizerConfig) -> dict[str, Any]:
    """Returns the state before the first update.

    Args:
      params: nested dictionary of arrays.
      config: the settings.

    Returns:
      `count`, the number of updates; `v_row`, `v_col`, `v`, trees like `params` in which the slots
      that a parameter does not use have shape (1,); and `m` if `beta1` is set.
    """
    state = _second_moments(config).init(params)._asdict()
    if config.beta1 is not None:
        state["m"] = jax.tree.map(jnp.zeros_like, params)
    dtype = jnp.dtype(config.statistics_dtype)
    return {
        name: tree if name == "count" else jax.tree.map(lambda slot: slot.astype(dtype), tree)
        for name, tree in state.items()
    }


class Update(NamedTuple):
    """What `update_params` returns.

    Attributes:
      params: the new parameters.
      state: the optimizer's new state.
      grad_norm: norm of all gradients together, float32, from the sums of squares that the second
        moments need anyway.
      is_made: bool scalar; False if loss or norm was not finite, and nothing was changed.
    """

    params: Params
    state: dict[str, Any]
    grad_norm: jax.Array
    is_made: jax.Array


def update_params(
    grads: Params,
    state: Mapping[str, Any],
    params: Params,
    *,
    step: jax.Array,
    loss: jax.Array,
    config: Any,
    layers_together: bool = False,
) -> Update:
    """Makes one update.

    Args:
      grads: tree like `params`; `SomeRows` where `moves_rows_alone`.
      state: from `init_optimizer` or the update before.
      params: float32 parameters.
      step: the run's step, for the learning rate.
      loss: of these gradients. If it or their norm is not finite, parameters and state stay as they
        are.
      config: the `OptimizerConfig`.
      layers_together: works on what differs in the layer's number alone as one array. The numbers
        are the same up to rounding, but the program does not grow with the layers: updating
        mT5-XXL's 552 arrays one by one took five sixths of the operations in its step's program.

    Where devices hold whole parameters, small ones of one shape are worked on as one array too.

    Returns:
      An `Update`.
    """
    groups = _groups(params, layers_together=layers_together)
    stored = {
        name: tree if name == "count" else _together(tree, groups) for name, tree in state.items()
    }
    held, grads = _together(params, groups), _together(grads, groups)
    updates, new_state, norm = _updates(
        grads, stored, held, groups=groups, rate=config.rate(step), config=config
    )
    is_made = jnp.isfinite(loss) & jnp.isfinite(norm)
    # A choice of each entry: `lax.cond` copied all parameters first (1.2 GB for mT5-small).
    new_state = jax.tree.map(lambda new, old: jnp.where(is_made, new, old), new_state, stored)
    new_params = {name: _added(param, updates[name], is_made) for name, param in held.items()}
    new_state = {
        name: part if name == "count" else _apart(part, groups) for name, part in new_state.items()
    }
    return Update(
        params=_apart(new_params, groups),
        state=new_state,
        grad_norm=norm,
        is_made=is_made,
    )


def moves_rows_alone(shape: tuple[int, ...], *, config: OptimizerConfig) -> bool:
    """Returns whether `update_params` can take `SomeRows` as the gradient of a parameter.

    Momentum moves every row, and so would single moments of every entry that small parameters have.
    """
    is_factored = factored_axes(shape, min_size=config.min_dim_size_to_factor) is not None
    is_small = math.prod(shape) <= _SMALL_SIZE
    return len(shape) == 2 and is_factored and not is_small and config.beta1 is None


def _added(param, update, is_made):
    if isinstance(update, SomeRows):
        return update.added_to(param, wanted=is_made)
    return jnp.where(is_made, param + update, param)


def _updates(grads, stored, params, *, groups, rate, config):
    count, state = stored["count"], stored
    if config.statistics_dtype != "float32":
        state = jax.tree.map(
            lambda slot: slot.astype(jnp.float32) if slot.dtype == jnp.bfloat16 else slot, stored
        )
    one = functools.partial(
        scaled_update,
        decay=1.0 - (count + 1).astype(jnp.float32) ** -config.decay_rate,
        rate=rate,
        epsilon=config.epsilon,
        min_size=config.min_dim_size_to_factor,
        clipping_threshold=config.clipping_threshold,
        min_parameter_scale=(
            config.min_parameter_scale if config.multiply_by_parameter_scale else None
        ),
    )
    updates, slots, totals = {}, {}, []
    for name, param in params.items():
        own = [state[slot][name] for slot in _SLOTS]
        move = one if len(groups[name]) == 1 else jax.vmap(one)
        updates[name], slots[name], total = move(grads[name], Slots(*own), param)
        totals.append(jnp.sum(total))
    new_state = {"count": optax.safe_increment(count)} | {
        slot: {name: getattr(new, slot) for name, new in slots.items()} for slot in _SLOTS
    }
    if config.beta1 is not None:
        # Kept as what is subtracted, which is T5X's sign and not optax.adafactor's.
        new_state["m"] = jax.tree.map(
            lambda m, u: config.beta1 * m - (1 - config.beta1) * u, state["m"], updates
        )
        updates = jax.tree.map(jnp.negative, new_state["m"])
    if config.statistics_dtype != "float32":
        new_state = _rounded(new_state)
    return updates, new_state, jnp.sqrt(sum(totals))


def _groups(params: Params, *, layers_together: bool) -> dict[str, list[str]]:
    """Returns `{name: paths}` of the parameters that are updated as one array.

    Layers in the order in which the model stacks them: their gradients then are one array already.
    """
    are_whole = parameters_are_whole()
    groups: dict[str, list[tuple[int, str]]] = {}
    for path, leaf in flatten_paths(params).items():
        number = re.search(r"\blayers_(\d+)\b", path)
        name = path
        if are_whole and leaf.size <= _SMALL_SIZE:
            name = "x".join(map(str, leaf.shape))
        elif layers_together and number:
            name = path.replace(number.group(), "layers", 1)
        groups.setdefault(name, []).append((int(number.group(1)) if number else 0, path))
    return {name: [path for _, path in sorted(members)] for name, members in groups.items()}


def _together(tree: Params, groups: Mapping[str, list[str]]) -> dict[str, jax.Array]:
    leaves = flatten_paths(tree)
    return {
        name: leaves[paths[0]] if len(paths) == 1 else jnp.stack([leaves[path] for path in paths])
        for name, paths in groups.items()
    }


def _apart(leaves: Mapping[str, jax.Array], groups: Mapping[str, list[str]]) -> dict[str, Any]:
    flat = {}
    for name, paths in groups.items():
        parts = [leaves[name]] if len(paths) == 1 else leaves[name]
        flat |= dict(zip(paths, parts, strict=True))
    return unflatten_paths(flat)


def _rounded(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state whose slots are bfloat16; the noise follows from the count of updates."""
    key = jax.random.fold_in(jax.random.key(0), state["count"])
    slots = {name: tree for name, tree in state.items() if name != "count"}
    leaves, structure = jax.tree.flatten(slots)
    rounded = [
        round_at_random(leaf, jax.random.fold_in(key, number)) for number, leaf in enumerate(leaves)
    ]
    return {"count": state["count"]} | structure.unflatten(rounded)


def optimizer_shardings(
    params: Params,
    shardings: Params,
    *,
    config: OptimizerConfig,
    replicated: jax.sharding.Sharding,
) -> dict[str, Any]:
    """Returns where the optimizer's state lives, so that each slot lies beside its parameter.

    Args:
      params: tree of arrays or `jax.ShapeDtypeStruct`.
      shardings: tree of `NamedSharding` like `params`.
      config: the settings.
      replicated: sharding of scalars and unused slots.

    Returns:
      Tree of shardings like `init_optimizer`'s.
    """
    abstract = jax.eval_shape(lambda p: init_optimizer(p, config=config), params)

    def slot(dropped: int | None) -> Callable:
        def place(leaf, param, sharding):
            if dropped is None:
                return sharding if leaf.shape == param.shape else replicated
            if param.ndim < 2:
                return replicated
            # optax drops the largest axis for v_row and the second largest for v_col.
            axis = int(np.argsort(param.shape)[dropped])
            if leaf.shape != param.shape[:axis] + param.shape[axis + 1 :]:
                return replicated
            spec = list(sharding.spec) + [None] * (param.ndim - len(sharding.spec))
            del spec[axis]
            return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*spec))

        return place

    rules = {"v_row": slot(-1), "v_col": slot(-2), "v": slot(None), "m": slot(None)}
    return {
        name: jax.tree.map(rules[name], tree, params, shardings) if name in rules else replicated
        for name, tree in abstract.items()
    }
