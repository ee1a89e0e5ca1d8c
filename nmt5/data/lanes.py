"""Windows of a group's examples, packed each on its own, and the lanes that read them in turn.

A window is a fixed run of consecutive example numbers; lane l of L reads windows l, l + L,
l + 2L, ... A lane's position is (windows finished, rows taken of the current one), and going back
to one packs one window again.
"""

from collections.abc import Sequence
import dataclasses
import json
from typing import Any

from nmt5.core.errors import DataError
from nmt5.core.files import sha256
from nmt5.data.examples import GroupExamples, TaskReader
from nmt5.data.heldout import example_lengths
from nmt5.data.layout import RowLayout
from nmt5.data.mixture import GroupSpec
from nmt5.data.objectives import Example
from nmt5.data.packing import assign_rows

# A window ends with a row that is half empty on average, and restoring packs a window per lane.
_WINDOW_ROWS = 96
_LARGEST_WINDOW_EXAMPLES = 8192
_PROBE_EXAMPLES = 64

# A row before it is laid out: (index of the task, example) of each segment.
Row = list[tuple[int, Example]]


def text_identity(group: GroupSpec, *, vocabulary: str, readers: Sequence[TaskReader]) -> str:
    """Returns a fingerprint of everything that decides which examples a group yields."""
    text = {
        "group": dataclasses.asdict(group),
        "vocabulary": vocabulary,
        "records": [len(reader.records) for reader in readers],
    }
    return sha256(json.dumps(text, sort_keys=True, default=list).encode())[:16]


class WindowStream:
    """The windows of one group."""

    def __init__(
        self,
        examples: GroupExamples,
        *,
        row: RowLayout,
        first_task: int,
        packs: bool,
        identity: dict[str, Any],
    ):
        self.row = row
        self.first_task = first_task
        self._examples = examples
        self._window_examples = 1
        if packs:
            self._window_examples = self._fitting_window()
        self.identity = identity | {"window_examples": self._window_examples}

    def _fitting_window(self) -> int:
        """Returns how many examples fill about `_WINDOW_ROWS` rows, judged by the first few."""
        probe = [example for _, example in self._examples.read(0, _PROBE_EXAMPLES)]
        inputs, targets = example_lengths(probe).mean(axis=0)
        per_row = min(self.row.inputs_length / inputs, self.row.targets_length / targets)
        return min(max(round(_WINDOW_ROWS * per_row), 1), _LARGEST_WINDOW_EXAMPLES)

    def window(self, number: int) -> list[Row]:
        """Returns the packed rows of a window; depends on nothing but its number."""
        start = number * self._window_examples
        drawn = self._examples.read(start, start + self._window_examples)
        rows = assign_rows(
            example_lengths([example for _, example in drawn]),
            inputs_length=self.row.inputs_length,
            targets_length=self.row.targets_length,
        )
        return [[drawn[i] for i in row] for row in rows]


class Lane:
    """A position in every L-th window of a stream."""

    def __init__(
        self, stream: WindowStream, *, lane: int, lanes: int, position: Sequence[int] = (0, 0)
    ):
        self._stream = stream
        self._lane = lane
        self._lanes = lanes
        self._turn, self._row = position
        self._rows: list[Row] | None = None

    @property
    def position(self) -> list[int]:
        """[windows finished in this lane, rows taken from the current one]."""
        return [self._turn, self._row]

    def take(self, count: int) -> list[Row]:
        """Returns the next rows."""
        taken: list[Row] = []
        while len(taken) < count:
            if self._rows is None:
                self._rows = self._stream.window(self._turn * self._lanes + self._lane)
                if self._row >= len(self._rows):
                    raise DataError(
                        f"feed: the state names row {self._row} of a window that has "
                        f"{len(self._rows)}; the store is another one than that of this run"
                    )
            end = min(self._row + count - len(taken), len(self._rows))
            taken += self._rows[self._row : end]
            self._row = end
            if self._row == len(self._rows):
                self._turn, self._row, self._rows = self._turn + 1, 0, None
        return taken
