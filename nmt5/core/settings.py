"""Settings as text: one `Owner.field: value` a line, for run directories and golden tests."""

from collections.abc import Mapping
import dataclasses
from typing import Any


def describe(configs: Mapping[str, Any]) -> str:
    """Returns all settings of some dataclasses, sorted, one a line.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     steps: int = 3
    >>> describe({"TrainConfig": Config()})
    'TrainConfig.steps: 3\\n'

    Args:
      configs: dataclass instances by the name that their settings have in gin files.
    """
    lines = []
    for owner, config in configs.items():
        for field in dataclasses.fields(config):
            lines.append(f"{owner}.{field.name}: {getattr(config, field.name)!r}")
    return "\n".join(sorted(lines)) + "\n"
