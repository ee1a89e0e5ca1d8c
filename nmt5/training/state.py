"""What a training step changes, and the form in which checkpoints keep it."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from nmt5.training.optimizer import OptimizerConfig, init_optimizer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """A pytree; randomness is not part of it, it follows from the seed and the step.

    Attributes:
      step: batches seen, skipped ones included.
      skipped_steps: batches whose gradient was not finite.
      params: T5X's parameter tree, float32.
      optimizer: see `nmt5.training.optimizer.init_optimizer`.
    """

    step: Int[Array, ""]
    skipped_steps: Int[Array, ""]
    params: Mapping[str, Any]
    optimizer: Mapping[str, Any]

    def to_tree(self) -> dict[str, Any]:
        """Returns the nested dictionary of a checkpoint's `state` item."""
        return {
            "target": self.params,
            "state": {
                "step": self.step,
                "skipped_steps": self.skipped_steps,
                "optimizer": self.optimizer,
            },
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> "TrainState":
        """Returns the state that `to_tree` gave, arrays or anything else at its leaves."""
        return cls(params=tree["target"], **tree["state"])


def init_state(params: Mapping[str, Any], *, optimizer: OptimizerConfig) -> TrainState:
    """Returns the state at step 0 from given parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        skipped_steps=jnp.zeros((), jnp.int32),
        params=params,
        optimizer=init_optimizer(params, config=optimizer),
    )


def step_key(seed: int, step: int | Int[Array, ""]) -> Key[Array, ""]:
    """Returns the key of all randomness inside one step."""
    return jax.random.fold_in(jax.random.key(seed), step)
