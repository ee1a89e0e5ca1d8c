"""Learning rates: pure functions of the step, by name."""

from collections.abc import Callable, Mapping
import types

import jax
import jax.numpy as jnp

Step = int | jax.Array
Schedule = Callable[..., jax.Array]


def constant(step: Step, *, base: float, warmup_steps: int) -> jax.Array:
    """Returns `base`, T5's choice for fine-tuning and nmT5's for continued pre-training.

    >>> float(constant(7, base=0.5, warmup_steps=0))
    0.5
    """
    del step, warmup_steps
    return jnp.float32(base)


def linear_warmup(step: Step, *, base: float, warmup_steps: int) -> jax.Array:
    """Returns `base * min(1, (step + 1) / warmup_steps)`: a straight rise, then constant.

    >>> [float(linear_warmup(s, base=1.0, warmup_steps=4)) for s in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return base * jnp.minimum(1.0, (jnp.float32(step) + 1) / max(warmup_steps, 1))


def inverse_square_root(step: Step, *, base: float, warmup_steps: int) -> jax.Array:
    """Returns `base / sqrt(max(step, warmup_steps))`, mT5's choice for pre-training.

    >>> [float(inverse_square_root(s, base=1.0, warmup_steps=4)) for s in (0, 4, 16)]
    [0.5, 0.5, 0.25]
    """
    return base / jnp.sqrt(jnp.maximum(jnp.float32(step), max(warmup_steps, 1)))


SCHEDULES: Mapping[str, Schedule] = types.MappingProxyType(
    {
        "constant": constant,
        "linear_warmup": linear_warmup,
        "inverse_square_root": inverse_square_root,
    }
)
