"""The mean of several checkpoints of one model, tensor by tensor."""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np

from nmt5.checkpoints import hub
from nmt5.checkpoints.binding import Binding
from nmt5.checkpoints.conversion import ConvertConfig, Converted, convert_opened
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.opened import OpenedCheckpoint, require_finite
from nmt5.checkpoints.t5x import NATIVE
from nmt5.core.errors import CheckpointError, ConfigError

# How a model is computed may differ between checkpoints of one model.
_FREE = ("dropout_rate", "dtype", "attention_backend", "scan_layers", "remat")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Which checkpoints become one.

    Attributes:
      sources: two checkpoints or more, of any format that `ConvertConfig.source` may have.
      target: as `ConvertConfig.target`.
      format: as `ConvertConfig.format`.

    Raises:
      ConfigError: fewer than two sources, or one twice.
    """

    sources: tuple[str, ...]
    target: str
    format: str = NATIVE

    def __post_init__(self):
        object.__setattr__(self, "sources", tuple(self.sources))
        if len(self.sources) < 2:
            raise ConfigError(f"average: {len(self.sources)} checkpoints, expected 2 or more")
        if twice := {s for s in self.sources if self.sources.count(s) > 1}:
            raise ConfigError(f"average: given twice: {', '.join(sorted(twice))}")


def average(config: AverageConfig, *, report: Callable[[str], None] = print) -> Converted:
    """Writes the mean of the checkpoints' parameters, without optimizer state.

    Memory holds about three tensors, however many checkpoints and parameters there are. The step,
    and all that stands beside the tensors, are those of the checkpoint with the highest step.

    Args:
      config: which, and where to.
      report: gets one line for each thing worth knowing.

    Returns:
      What was made.

    Raises:
      CheckpointError: one is damaged, or they are of different models or vocabularies.
      StorageError: the target exists already, or the disk has no room.
    """
    opened = [open_checkpoint(hub.resolve(source, report=report)) for source in config.sources]
    opened.sort(key=lambda one: one.step or 0)
    require_same_model(opened)
    for one in opened:
        one.check_duplicates()
        report(f"{one.reader.source}: step {one.step}")
    made = ConvertConfig(
        source=" + ".join(config.sources), target=config.target, format=config.format
    )
    return convert_opened(_Mean.of(opened), made, report=report)


def require_same_model(opened: Sequence[OpenedCheckpoint]) -> None:
    """Raises `CheckpointError` unless all are of one model and, as far as they say, vocabulary."""
    first = opened[0]
    for other in opened[1:]:
        one, two = first.config.to_dict(), other.config.to_dict()
        differing = [
            f"{name} {one[name]} and {two[name]}"
            for name in one
            if name not in _FREE and one[name] != two[name]
        ]
        if differing:
            raise CheckpointError(
                f"{first.reader.source} and {other.reader.source} are of different models: "
                + ", ".join(differing)
            )
    named = {}
    for one in opened:
        fingerprint = one.stated.extra.get("vocabulary_fingerprint")
        if fingerprint:
            named.setdefault(fingerprint, one.reader.source)
    if len(named) > 1:
        (one, path), (two, other_path) = list(named.items())[:2]
        raise CheckpointError(
            f"{path} was trained with vocabulary {str(one)[:12]}, {other_path} with "
            f"{str(two)[:12]}; the rows of their embeddings stand for different tokens"
        )


class _Mean(OpenedCheckpoint):
    """The last of some checkpoints, whose parameters are read as the mean over all."""

    others: list[tuple[OpenedCheckpoint, dict[str, Binding]]]

    @classmethod
    def of(cls, opened: Sequence[OpenedCheckpoint]) -> "_Mean":
        last = opened[-1]
        fields = {f.name: getattr(last, f.name) for f in dataclasses.fields(last)}
        fields["slots"] = {}  # means of second moments belong to no point of the run
        mean = cls(**fields)
        mean.others = [
            (one, {binding.path: binding for binding in one.bindings.parameters})
            for one in opened[:-1]
        ]
        return mean

    def read(self, binding: Binding) -> np.ndarray:
        """See `OpenedCheckpoint.read`; the mean is rounded once."""
        total = np.array(super().read(binding), dtype=np.float64)
        for one, bindings in self.others:
            values = one.read(bindings[binding.path])
            total += require_finite(one, binding.path, values)
            del values
        total /= len(self.others) + 1
        return total.astype(np.float32)
