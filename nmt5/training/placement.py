"""From rows on the hosts to arrays on the devices, and which rows are whose."""

from collections.abc import Mapping
import functools

import jax
import numpy as np

from nmt5.core.errors import ConfigError
from nmt5.training.step import FEATURES


def place_rows(
    group: Mapping[str, np.ndarray], *, sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """Puts what the model reads of one objective's rows on the devices, without waiting for it.

    Args:
      group: `{feature: int32 array (rows of this process, length)}`, from a feed that was made
        with `own_share`.
      sharding: of the whole batch's rows.
    """
    _, shares = own_share(sharding)
    return {
        name: jax.make_array_from_process_local_data(
            sharding, group[name], (shares * len(group[name]), *group[name].shape[1:])
        )
        for name in FEATURES
    }


def place_whole(
    group: Mapping[str, np.ndarray], *, sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """As `place_rows`, where every process has all rows, `{feature: (rows, length)}`."""
    return {
        name: jax.make_array_from_callback(group[name].shape, sharding, group[name].__getitem__)
        for name in FEATURES
    }


@functools.cache
def own_share(sharding: jax.sharding.Sharding) -> tuple[int, int]:
    """Returns which part of a batch's rows this process feeds, and how many parts there are.

    Processes whose devices hold the same rows, as those that share one copy of the model along
    `tensor`, feed the same part.

    Raises:
      ConfigError: the processes' rows overlap without being the same.
    """
    held: dict[int, set[int]] = {}
    for device, (rows, *_) in sharding.devices_indices_map((sharding.num_devices,)).items():
        held.setdefault(device.process_index, set()).add(rows.start or 0)
    parts = sorted(set(map(frozenset, held.values())), key=min)
    if sum(map(len, parts)) > len(frozenset.union(*parts)) or len({len(p) for p in parts}) > 1:
        raise ConfigError(
            f"MeshConfig: the devices of the {len(held)} processes hold unequal parts of a batch's "
            "rows; choose `tensor` so that it divides the devices of a process, or is a multiple "
            "of them"
        )
    return parts.index(frozenset(held[jax.process_index()])), len(parts)
