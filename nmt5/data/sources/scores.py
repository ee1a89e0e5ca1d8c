"""Dropping examples by a score that came with them, such as LASER's margin in mined bitext."""

import dataclasses
from typing import Any

from nmt5.core.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreLimit:
    """Keeps examples whose score is at least `least`.

    Attributes:
      column: the column or field of the score, named as the source names its others.
      least: the lowest score that is kept.
    """

    column: int | str
    least: float

    def keeps(self, value: Any, *, place: str) -> bool:
        """Tells whether an example with this score is kept.

        Args:
          value: a number, or its text.
          place: file and line, for the message.

        Raises:
          DataError: the value is no number.
        """
        try:
            return float(value) >= self.least
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{place}: score '{self.column}' is {value!r}, expected a number; choose the "
                "score's column"
            ) from error
