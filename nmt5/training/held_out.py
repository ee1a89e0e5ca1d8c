"""Held-out loss of every objective and language."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from nmt5.data.mixture import TaskSpec
from nmt5.model.losses import LossSums

HeldOutBatch = tuple[TaskSpec, str, Mapping[str, Any]]


def held_out_losses(
    params: Any,
    batches: Iterable[HeldOutBatch],
    *,
    eval_step: Callable[[Any, Any], LossSums],
    place: Callable[[Any], Any],
) -> dict[str, float]:
    """Returns loss and accuracy per target token on held-out rows.

    Args:
      params: the parameters.
      batches: (task, objective, features), as `nmt5.data.heldout.heldout_batches` gives them.
      eval_step: the jitted `nmt5.training.step.eval_step`.
      place: puts a group's features on the devices.

    Returns:
      `heldout/<objective>/{loss,accuracy,target_tokens}` over all tasks, every token counting
      once, and `heldout/<objective>/loss/<language or pair>`.
    """
    sums: dict[tuple[str, str], list[LossSums]] = defaultdict(list)
    for task, objective, arrays in batches:
        found = eval_step(params, place(arrays))
        for key in ("", "-".join(task.languages)):
            sums[objective, key].append(found)
    values = {}
    for (objective, key), parts in sums.items():
        loss, correct, weight = (
            sum(float(getattr(part, field)) for part in jax.device_get(parts))
            for field in ("loss", "correct", "weight")
        )
        if key:
            values[f"heldout/{objective}/loss/{key}"] = loss / max(weight, 1.0)
        else:
            values[f"heldout/{objective}/loss"] = loss / max(weight, 1.0)
            values[f"heldout/{objective}/accuracy"] = correct / max(weight, 1.0)
            values[f"heldout/{objective}/target_tokens"] = weight
    return values
