"""How parameters begin: T5X's distributions, drawn by JAX in a program or by NumPy on the host.

A run draws on the host. JAX's generator is written out in full for every parameter: compiling it
took 8 of the 26 CPU seconds that XLA spent before the first step of `gin/demo.gin` (jax 0.10.2),
and its program held twice the parameters of mT5-small. NumPy's numbers cost no compilation and are
the same on every platform and mesh.

Source:
  https://github.com/google-research/t5x/blob/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5/layers.py
"""

import dataclasses
import math
from typing import Any, Literal

from flax import linen as nn
import jax
from jaxtyping import Array, Float, Key
import numpy as np

# Of a normal distribution that is cut off at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978
_BLOCK = 1 << 16


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Initializer:
    """A distribution whose variance may follow from the shape; Flax calls it as its own ones.

    Attributes:
      distribution: what is drawn; "ones" draws nothing.
      fan: what divides the variance of a kernel (inputs, outputs): "in", the inputs; "avg", the
        mean of both; None, nothing.
      factor: of the standard deviation.
    """

    distribution: Literal["ones", "normal", "truncated_normal", "uniform"]
    fan: Literal["in", "avg"] | None = None
    factor: float = 1.0

    def __call__(
        self, key: Key[Array, ""], shape: tuple[int, ...], dtype: Any
    ) -> Float[Array, "..."]:
        """Returns initial values from a key of JAX's."""
        if self.distribution == "ones":
            return nn.initializers.ones(key, shape, dtype)
        if self.fan is None:
            return nn.initializers.normal(self.factor)(key, shape, dtype)
        draw = nn.initializers.variance_scaling(1.0, f"fan_{self.fan}", self.distribution)
        values = draw(key, shape, dtype)
        return values if self.factor == 1.0 else values * self.factor

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Returns initial values of the same distribution, float32, from NumPy's generator."""
        if self.distribution == "ones":
            return np.ones(shape, np.float32)
        values, std = np.empty(shape, np.float32), self.std(shape)
        flat = values.reshape(-1)
        # Block by block, each while it is in the cache.
        for begin in range(0, flat.size, _BLOCK):
            block = flat[begin : begin + _BLOCK]
            if self.distribution == "uniform":
                generator.random(out=block, dtype=np.float32)
                block -= 0.5
                block *= math.sqrt(12.0) * std
                continue
            generator.standard_normal(out=block, dtype=np.float32)
            if self.distribution == "truncated_normal":
                outside = np.flatnonzero(np.abs(block) > 2.0)
                while outside.size:
                    block[outside] = generator.standard_normal(outside.size, dtype=np.float32)
                    outside = outside[np.abs(block[outside]) > 2.0]
                block /= _TRUNCATED_STD
            block *= std
        return values

    def std(self, shape: tuple[int, ...]) -> float:
        """Returns the standard deviation of a parameter's values."""
        divisor = {None: 1.0, "in": shape[0], "avg": sum(shape) / 2}[self.fan]
        return self.factor / math.sqrt(divisor)


ONES = Initializer("ones")
UNIT_NORMAL = Initializer("normal")
FAN_IN_NORMAL = Initializer("normal", fan="in")
FAN_IN_TRUNCATED = Initializer("truncated_normal", fan="in")
FAN_AVG_UNIFORM = Initializer("uniform", fan="avg")
