"""Batches made and put on the devices while the step before them runs."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import queue
import threading
from typing import Any, Protocol

import jax
import numpy as np

from nmt5.training.step import FEATURES


def place_rows(
    group: Mapping[str, np.ndarray], *, sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """Puts what the model reads of one objective's rows on the devices, without waiting for it.

    Args:
      group: `{feature: int32 array (rows of this process, length)}`.
      sharding: of the whole batch's rows.
    """
    return {
        name: jax.make_array_from_process_local_data(sharding, group[name]) for name in FEATURES
    }


class FeedIterator(Protocol):
    """What the loop needs of the feed's iterator."""

    def __next__(self) -> Any:
        """Returns the next `FeedBatch`."""

    def get_state(self) -> Any:
        """Returns the JSON-able position after the last batch."""

    def set_state(self, state: Any) -> None:
        """Goes to a position that `get_state` returned."""


@dataclasses.dataclass(frozen=True)
class PlacedBatch:
    """A batch on the devices.

    Attributes:
      arrays: `{objective: {feature: jax.Array}}`.
      sampled: (tasks, 3) examples, encoder tokens and target tokens drawn, int64.
      truncated: examples that were cut.
      position: of the feed, after this batch.
    """

    arrays: Any
    sampled: np.ndarray
    truncated: int
    position: Any


class Prefetcher:
    """Iterates over placed batches; a thread works ahead of the caller.

    Args:
      feed: the iterator, at the position to begin from; the first batch is made at once, beside
        the compilation of the step.
      place: puts `{objective: {feature: NumPy array}}` on the devices.
      ahead: how many batches may wait.
    """

    def __init__(self, feed: FeedIterator, *, place: Callable[[Any], Any], ahead: int = 2):
        self._queue: queue.Queue = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(feed, place), name="feed", daemon=True
        )
        self._thread.start()

    def _work(self, feed, place) -> None:
        try:
            while not self._closed.is_set():
                batch = next(feed)
                self._put(
                    PlacedBatch(
                        arrays=place(batch.arrays),
                        sampled=batch.sampled,
                        truncated=int(batch.truncated),
                        position=feed.get_state(),
                    )
                )
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[PlacedBatch]:
        """Returns itself."""
        return self

    def __next__(self) -> PlacedBatch:
        """Returns the next batch; raises what the feed raised."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stops the thread after the batch that it is making."""
        self._closed.set()
        self._thread.join(timeout=10)
