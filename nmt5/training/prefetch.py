"""Batches made and put on the devices while the step before them runs."""

from collections.abc import Callable, Iterator
import dataclasses
import queue
import threading
from typing import Any, Generic, Protocol, Self, TypeVar

import jax
import numpy as np

from nmt5.training.placement import place_rows

T = TypeVar("T")


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


def placed_batches(feed: FeedIterator, *, sharding: jax.sharding.Sharding) -> Iterator[PlacedBatch]:
    """Yields the feed's batches on the devices, from where the feed stands."""
    while True:
        batch = next(feed)
        yield PlacedBatch(
            arrays={
                name: place_rows(group, sharding=sharding) for name, group in batch.arrays.items()
            },
            sampled=batch.sampled,
            truncated=int(batch.truncated),
            position=feed.get_state(),
        )


@dataclasses.dataclass(frozen=True)
class _End:
    """The items are at their end, by an error if there is one."""

    error: BaseException | None


class Ahead(Generic[T]):
    """Takes items from an iterator in a thread that works ahead of the caller.

    Args:
      items: used by the thread only; the first item is made at once.
      name: of the thread.
      ahead: how many items may wait.
    """

    def __init__(self, items: Iterator[T], *, name: str, ahead: int = 2):
        self._queue: queue.Queue = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(items,), name=name, daemon=True)
        self._thread.start()

    def _work(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                self._put(item)
                if self._closed.is_set():
                    return
            self._put(_End(None))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            self._put(_End(error))

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def __iter__(self) -> Self:
        """Returns itself."""
        return self

    def __next__(self) -> T:
        """Returns the next item; raises what the iterator raised."""
        return self._take(self._queue.get())

    def next(self, *, unless: Callable[[], bool]) -> T | None:
        """Returns the next item, or None if `unless` becomes true first.

        An iterator that makes nothing more must not keep a run from stopping.
        """
        while True:
            try:
                return self._take(self._queue.get(timeout=0.5))
            except queue.Empty:
                if unless():
                    return None

    def _take(self, item: Any) -> T:
        if isinstance(item, _End):
            self._queue.put(item)  # for whoever asks again
            raise item.error or StopIteration
        return item

    def close(self) -> None:
        """Stops the thread after the item that it is making."""
        self._closed.set()
        self._thread.join(timeout=10)
