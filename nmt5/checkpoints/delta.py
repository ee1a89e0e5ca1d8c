"""How far two checkpoints of one model lie apart, tensor by tensor."""

from collections.abc import Iterator
import dataclasses
import math
import os
import re

import numpy as np

from nmt5.checkpoints import hub
from nmt5.checkpoints.averaging import require_same_model
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.opened import require_finite

_ROWS = 1 << 16
# Parts of a model by the beginning or a part of the parameter's path; the first that fits counts.
_PARTS = (
    ("embedding", r"token_embedder/"),
    ("head", r"decoder/logits_dense/"),
    ("position tables", r".*/?relpos_bias/"),
    ("norms", r".*norm/scale"),
    ("encoder attention", r"encoder/.*attention/"),
    ("encoder feed-forward", r"encoder/.*mlp/"),
    ("decoder self-attention", r"decoder/.*self_attention/"),
    ("decoder cross-attention", r"decoder/.*encoder_decoder_attention/"),
    ("decoder feed-forward", r"decoder/.*mlp/"),
)


@dataclasses.dataclass(frozen=True)
class TensorDelta:
    """One parameter, or a part of the model, in both checkpoints.

    Attributes:
      name: T5X's path, or the part.
      size: number of elements.
      norm: Euclidean norm in the first checkpoint.
      change: Euclidean norm of second minus first.
      largest: largest absolute change of an element.
    """

    name: str
    size: int
    norm: float
    change: float
    largest: float

    @property
    def relative(self) -> float:
        """`change` / `norm`; infinite where a zero tensor changed."""
        if self.norm:
            return self.change / self.norm
        return math.inf if self.change else 0.0


def deltas(first: os.PathLike | str, second: os.PathLike | str) -> Iterator[TensorDelta]:
    """Compares the parameters of two checkpoints; memory holds about two tensors.

    Args:
      first: any checkpoint that `nmt5 convert` reads.
      second: another of the same model, in the same or another format.

    Yields:
      One result per parameter, in the order in which the first one is read.

    Raises:
      CheckpointError: damaged, NaN, or of different models or vocabularies.
    """
    one, two = (open_checkpoint(hub.resolve(os.fspath(path))) for path in (first, second))
    require_same_model([one, two])
    places = {binding.path: binding for binding in two.bindings.parameters}
    for binding in one.bindings.parameters:
        path = binding.path
        before = require_finite(one, path, one.read(binding))
        after = require_finite(two, path, two.read(places[path]))
        norm = change = largest = 0.0
        before_N, after_N = before.reshape(-1), after.reshape(-1)
        for start in range(0, before.size, _ROWS):
            x = before_N[start : start + _ROWS].astype(np.float64)
            d = after_N[start : start + _ROWS].astype(np.float64) - x
            norm += float(x @ x)
            change += float(d @ d)
            largest = max(largest, float(np.abs(d).max()))
        yield TensorDelta(path, before.size, math.sqrt(norm), math.sqrt(change), largest)


def by_part(found: list[TensorDelta]) -> list[TensorDelta]:
    """Returns one line for each part of the model, and one for all of it."""
    groups: dict[str, list[TensorDelta]] = {name: [] for name, _ in _PARTS}
    for one in found:
        part = next((name for name, pattern in _PARTS if re.match(pattern, one.name)), "other")
        groups.setdefault(part, []).append(one)
    return [_joined(name, some) for name, some in groups.items() if some] + [_joined("all", found)]


def _joined(name: str, some: list[TensorDelta]) -> TensorDelta:
    return TensorDelta(
        name,
        sum(one.size for one in some),
        math.sqrt(sum(one.norm**2 for one in some)),
        math.sqrt(sum(one.change**2 for one in some)),
        max(one.largest for one in some),
    )
