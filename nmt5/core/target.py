"""What the program under construction is for: which platform, which split over devices.

Most often it is for the platform that runs it. `nmt5 plan` compiles for a TPU on a machine that
has none: a choice by platform must then follow the target, not `jax.default_backend()`.

The model says by logical names how its activations lie; only who builds a program for a mesh
knows what that means. Left alone, XLA takes the split of a parameter for that of the activations
and gathers the rows of a batch (seen with mT5-large on v5e:16x16, jax 0.10.2).
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import contextvars
from typing import Protocol

import jax


class Split(Protocol):
    """Knows what logical axes mean on a mesh."""

    def __call__(self, array: jax.Array, names: tuple[str | None, ...]) -> jax.Array:
        """Returns the array with its sharding fixed."""
        ...

    def parts(self, axis: str) -> int:
        """Returns into how many parts a logical axis is split."""
        ...

    def map(
        self, function: Callable, arrays: Sequence, *, split: Sequence, result_split: Sequence
    ) -> tuple:
        """Calls a function on every device, as `map_over_devices`."""
        ...


_split: contextvars.ContextVar[Split | None] = contextvars.ContextVar("split", default=None)
_target: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def target_platform() -> str:
    """Returns "cpu", "gpu" or "tpu": what the function that is being traced will run on."""
    return _target.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(platform: str, *, split: Split | None = None) -> Iterator[None]:
    """What is traced inside is meant for `platform`, whatever this machine has.

    Args:
      platform: "cpu", "gpu" or "tpu".
      split: how arrays lie over the devices; None leaves it to XLA.
    """
    tokens = _target.set(platform), _split.set(split)
    try:
        yield
    finally:
        _target.reset(tokens[0])
        _split.reset(tokens[1])


def split_by(array: jax.Array, *axes: str | None) -> jax.Array:
    """Returns `array`, lying over the devices as its logical axes say; None for a whole dimension.

    Does nothing outside `tracing_for`, so modules can be used alone.
    """
    split = _split.get()
    return array if split is None else split(array, axes)


def knows_devices() -> bool:
    """Returns whether the program's devices are known, not only their platform."""
    return _split.get() is not None


def num_parts_of(axis: str) -> int:
    """Returns into how many parts a logical axis is split; 1 outside `tracing_for`."""
    split = _split.get()
    return 1 if split is None else split.parts(axis)


def map_over_devices(
    function: Callable, arrays: Sequence, *, split: Sequence, result_split: Sequence
) -> tuple:
    """Calls a function on every device with its part of the arrays, where `knows_devices`.

    For what XLA cannot split over devices by itself, such as kernels.

    Args:
      function: takes the arrays one by one and returns a tuple.
      arrays: arrays, or None where the function takes None.
      split: for each array its dimensions' logical axes, None for a whole dimension; and None for
        an array that is None. What an axis is split into must divide the dimension.
      result_split: the same for the results.

    Returns:
      The results, put together from the devices' parts.
    """
    return _split.get().map(function, arrays, split=split, result_split=result_split)
