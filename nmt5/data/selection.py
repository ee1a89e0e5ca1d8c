"""Which task the i-th example of a group comes from, and which record of it: arithmetic on i alone.

A group of any number of tasks draws through one precomputed table, so that choosing among 2,000
tasks costs what choosing among 10 does. Since a draw is a function of its index, the feed can
start anywhere, and its state is a position.
"""

import collections
import hashlib
import threading

from grain.experimental import index_shuffle
import numpy as np

from nmt5.core.errors import DataError

TABLE_DRAWS = 1 << 20

# Small permutations are kept, because index_shuffle is slow for them (1.4 ms at 10 records).
_LARGEST_KEPT_PERMUTATION = 1 << 14
_KEPT_BYTES = 64 << 20
_SHUFFLE_ROUNDS = 4


def quantised_draws(weights: np.ndarray, *, total: int = TABLE_DRAWS) -> np.ndarray:
    """Splits `total` draws by weight, at least one for each.

    >>> quantised_draws(np.array([0.5, 0.3, 0.2]), total=8)
    array([4, 2, 2])
    >>> quantised_draws(np.array([1.0, 1e-9]), total=8)
    array([7, 1])

    Args:
      weights: positive numbers, not necessarily normalised.
      total: the sum of the result, at least the number of weights.

    Returns:
      int64 array, each entry within one draw of its exact part unless that part is below one draw.

    Raises:
      DataError: a weight that is not positive, or more weights than draws.
    """
    weights = np.asarray(weights, np.float64)
    if not len(weights) or not (weights > 0).all() or not np.isfinite(weights).all():
        raise DataError("sampling: weights must be positive numbers, at least one")
    if len(weights) > total:
        raise DataError(f"sampling: {len(weights)} tasks in a group, at most {total} are possible")
    exact = weights / weights.sum() * total
    draws = np.maximum(np.floor(exact).astype(np.int64), 1)
    missing = total - int(draws.sum())
    if missing > 0:
        draws[np.argsort(draws - exact, kind="stable")[:missing]] += 1
    while missing < 0:  # the tasks that got one draw too many are paid by the largest
        largest = np.argsort(-draws, kind="stable")[:-missing]
        largest = largest[draws[largest] > 1]
        draws[largest] -= 1
        missing = total - int(draws.sum())
    return draws


class SelectionTable:
    """A fixed random order of draws, repeated for ever.

    Attributes:
      draws: int64 array, draws of each task per turn of the table.
    """

    def __init__(self, weights: np.ndarray, *, seed: tuple[int, ...], total: int = TABLE_DRAWS):
        self.draws = quantised_draws(weights, total=total)
        tasks = np.repeat(np.arange(len(self.draws), dtype=np.int32), self.draws)
        self._task_of_slot = np.random.default_rng(seed).permutation(tasks)
        # The rank of a slot among the slots of its task: sorting by task lists them in order.
        order = np.argsort(self._task_of_slot, kind="stable")
        starts = np.repeat(np.cumsum(self.draws) - self.draws, self.draws)
        self._rank_of_slot = np.empty(total, np.int32)
        self._rank_of_slot[order] = np.arange(total) - starts

    def select(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the task of each draw and how often that task was drawn before.

        >>> table = SelectionTable(np.array([3, 1]), seed=(0,), total=4)
        >>> tasks, occurrences = table.select(np.arange(8))
        >>> tasks.tolist(), occurrences.tolist()
        ([0, 0, 0, 1, 0, 0, 0, 1], [0, 1, 2, 0, 3, 4, 5, 1])

        Args:
          indices: int array of draws, from 0.

        Returns:
          Two int64 arrays of the same shape: task, and occurrence of that task from 0.
        """
        turns, slots = np.divmod(np.asarray(indices, np.int64), len(self._task_of_slot))
        tasks = self._task_of_slot[slots].astype(np.int64)
        return tasks, turns * self.draws[tasks] + self._rank_of_slot[slots]


class EpochOrder:
    """The order in which the records of each task are read, another one in every epoch.

    Holds at most 64 MiB of permutations, the most recently used. Safe for threads.
    """

    def __init__(self, *, seed: int):
        self._seed = seed
        self._kept: collections.OrderedDict = collections.OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def record(self, key: int, *, occurrence: int, num_records: int) -> int:
        """Returns which record the n-th draw of a task reads.

        Args:
          key: of the task, `stable_key` of its name.
          occurrence: how often the task was drawn before.
          num_records: records of the task, at least 1.

        Returns:
          A record in [0, num_records); each once per epoch of `num_records` occurrences.
        """
        epoch, position = divmod(occurrence, num_records)
        name = (key, epoch, num_records)
        with self._lock:
            order = self._kept.get(name)
            if order is not None:
                self._kept.move_to_end(name)
        if order is None:
            order = self._make(key, epoch, num_records)
            with self._lock:
                if name not in self._kept:
                    self._kept_bytes += _size(order)
                self._kept[name] = order
                while self._kept_bytes > _KEPT_BYTES:
                    self._kept_bytes -= _size(self._kept.popitem(last=False)[1])
        if isinstance(order, int):
            return index_shuffle(
                index=position, max_index=num_records - 1, seed=order, rounds=_SHUFFLE_ROUNDS
            )
        return int(order[position])

    def _make(self, key: int, epoch: int, num_records: int) -> np.ndarray | int:
        """Returns the permutation itself, or the seed of one too large to keep."""
        rng = np.random.default_rng((self._seed, key, epoch))
        if num_records <= _LARGEST_KEPT_PERMUTATION:
            return rng.permutation(num_records).astype(np.uint16)
        return int(rng.integers(1 << 31))


def _size(order: np.ndarray | int) -> int:
    return 200 + (order.nbytes if isinstance(order, np.ndarray) else 0)


def stable_key(name: str) -> int:
    """Returns a 63-bit number of a name that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1
