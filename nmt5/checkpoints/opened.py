"""A checkpoint, opened: its model is known, every tensor has its place, none is loaded."""

from collections.abc import Mapping
import dataclasses
import math
import re

import numpy as np

from nmt5.checkpoints.binding import Binding, Bindings, bind, guess_parameters
from nmt5.checkpoints.names import NameTable
from nmt5.checkpoints.orientation import to_t5x
from nmt5.checkpoints.param_paths import StatedConfig, infer_config, parameter_shapes
from nmt5.checkpoints.tensors import TensorReader, TensorSpec, is_finite, slabs
from nmt5.core.errors import CheckpointError
from nmt5.model.config import ModelConfig

SLOT_NAMES = ("m", "v", "v_row", "v_col")


@dataclasses.dataclass
class OpenedCheckpoint:
    """What a format's reader hands to imports and conversions.

    Attributes:
      format: one of `nmt5.checkpoints.detect.FORMATS`.
      reader: the tensors under their foreign names.
      bindings: which parameter each foreign tensor holds.
      config: the model.
      stated: what the checkpoint says of itself.
      step: training step, where the format keeps one.
      slots: foreign name of each optimizer slot, `{parameter path: {slot: name}}`.
      notes: what was noticed and should be read by the user.
      companions: further files by name, such as the tokenizer's.
    """

    format: str
    reader: TensorReader
    bindings: Bindings
    config: ModelConfig
    stated: StatedConfig
    step: int | None = None
    slots: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    companions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self._last: tuple[str, np.ndarray] | None = None

    def read(self, binding: Binding) -> np.ndarray:
        """Returns a parameter in T5X's orientation; keeps a stacked tensor for its next layer."""
        if not binding.transform.stacked:
            self._last = None
            return to_t5x(self.reader.read(binding.foreign), binding.transform)
        if self._last is None or self._last[0] != binding.foreign:
            self._last = None
            self._last = (binding.foreign, self.reader.read(binding.foreign))
        return to_t5x(self._last[1], binding.transform, layer=binding.layer)

    def release(self) -> None:
        """Forgets the stacked tensor that was kept."""
        self._last = None

    def check_duplicates(self) -> list[str]:
        """Compares known duplicates with their originals, a few rows at a time.

        Returns:
          One line for each duplicate and each unused tensor.

        Raises:
          CheckpointError: a duplicate differs.
        """
        lines = []
        for name, original in self.bindings.duplicates:
            if not equal_tensors(self.reader, name, original):
                raise CheckpointError(
                    f"{self.reader.source}: '{name}' should equal '{original}', but differs; it "
                    "is no T5-family model with shared embeddings"
                )
            lines.append(f"{name}: equals {original}, not needed")
        lines.extend(f"{name}: not used ({why})" for name, why in self.bindings.unused)
        return lines


def summary(opened: OpenedCheckpoint) -> str:
    """Returns one line of what a checkpoint holds: its size, shape and step."""
    c = opened.config
    count = sum(math.prod(shape) for shape in parameter_shapes(c).values())
    step = "unknown step" if opened.step is None else f"step {opened.step:,}"
    return (
        f"{count:,} parameters, {c.num_encoder_layers}+{c.num_decoder_layers} layers, width "
        f"{c.emb_dim}, vocabulary rows {c.vocab_size:,}, {step}"
    )


def require_finite(opened: OpenedCheckpoint, path: str, values: np.ndarray) -> np.ndarray:
    """Returns `values`, read for `path`; raises `CheckpointError` if one is NaN or infinite."""
    if not is_finite(values):
        bad = int(values.size - np.isfinite(values).sum())
        raise CheckpointError(
            f"{opened.reader.source}: {path}: {bad} of {values.size} values are NaN or infinite; "
            "the checkpoint is damaged or its training diverged"
        )
    return values


def equal_tensors(reader: TensorReader, first: str, second: str) -> bool:
    """Tells whether two tensors have the same shape and values, loading a few rows at a time."""
    spec, other = reader.specs[first], reader.specs[second]
    if spec.shape != other.shape or spec.dtype != other.dtype:
        return False
    return all(
        np.array_equal(
            reader.read_rows(first, start=start, stop=stop),
            reader.read_rows(second, start=start, stop=stop),
        )
        for start, stop in slabs(spec.shape, itemsize=spec.dtype.itemsize)
    )


def open_tensors(
    reader: TensorReader,
    *,
    format: str,
    table: NameTable,
    stated: StatedConfig,
    specs: Mapping[str, TensorSpec] | None = None,
    **rest,
) -> OpenedCheckpoint:
    """Infers the model of a checkpoint and binds its tensors.

    Args:
      reader: the foreign tensors.
      format: name of the format.
      table: its mapping table.
      stated: what the checkpoint says of its model.
      specs: the tensors that should be parameters; all of the reader's if None.
      **rest: further fields of `OpenedCheckpoint`.

    Returns:
      The opened checkpoint.

    Raises:
      CheckpointError: parts of the model are missing, too many, or of wrong shape.
    """
    specs = reader.specs if specs is None else specs
    guessed = guess_parameters(table, specs)
    if not guessed:
        shown = ", ".join(f"{name} {spec}" for name, spec in list(specs.items())[:10])
        raise CheckpointError(
            f"{reader.source}: no tensor has a name of {table.name}; found {shown or 'nothing'}"
        )
    config = infer_config(guessed, stated=stated, source=reader.source)
    expected = parameter_shapes(config)
    bindings = bind(table, specs, expected=expected, source=reader.source)
    return OpenedCheckpoint(
        format=format, reader=reader, bindings=bindings, config=config, stated=stated, **rest
    )


def has_per_layer_bias(names: Mapping[str, TensorSpec], pattern: str) -> bool:
    """Tells whether some layer above 0 has a relative table.

    Args:
      names: foreign tensors.
      pattern: regular expression with one group, the layer.
    """
    return any((m := re.fullmatch(pattern, name)) and int(m[1]) > 0 for name in names)
