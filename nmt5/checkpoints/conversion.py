"""Conversion between any two checkpoint formats, one tensor at a time.

A conversion is: open (formats' readers), bind (mapping table of the source), order (mapping table
of the target), then for each tensor read, check, turn, cast, write. Memory holds about one tensor.
The result is made in a temporary directory that gets its name when everything is written.
"""

from collections.abc import Callable, Iterator
import concurrent.futures
import dataclasses
import math
import re
import time

from etils import epath
import numpy as np

from nmt5.checkpoints import checksums, hub
from nmt5.checkpoints.beside_tensors import write_beside
from nmt5.checkpoints.detect import FORMATS, open_checkpoint
from nmt5.checkpoints.huggingface import FORMAT as HUGGINGFACE
from nmt5.checkpoints.huggingface_export import ARCHITECTURES, SafetensorsWriter
from nmt5.checkpoints.mesh_tensorflow import FORMAT as MESH
from nmt5.checkpoints.names import (
    NameTable,
    huggingface_table,
    t5x_scanned_table,
    t5x_unscanned_table,
)
from nmt5.checkpoints.opened import SLOT_NAMES, OpenedCheckpoint, require_finite, summary
from nmt5.checkpoints.optimizer_slots import SlotReader, written_slot
from nmt5.checkpoints.orientation import Transform, foreign_shape, to_foreign
from nmt5.checkpoints.param_paths import parameter_shapes
from nmt5.checkpoints.t5x import LEGACY, NATIVE, ORBAX
from nmt5.checkpoints.t5x_export import LegacyWriter, OrbaxWriter
from nmt5.checkpoints.tensors import DTYPES, SLAB_BYTES, TensorSpec
from nmt5.checkpoints.whole_directory import byte_progress, made_whole
from nmt5.core.errors import CheckpointError, ConfigError, StorageError, unknown_name
from nmt5.model.config import RELATIVE_BIAS_PER_LAYER, ModelConfig

WRITABLE = tuple(name for name in FORMATS if name != MESH)
SLOTS = ("reset", "keep")
LAYERS = ("unscanned", "scanned")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """What to convert into what.

    Attributes:
      source: local path, `gs://` path, or Hub name such as `google/mt5-small`.
      target: a directory that does not exist; for T5X, Orbax and nmt5 formats
        `checkpoint_<step>` is made in it unless it has such a name itself.
      format: one of `WRITABLE`.
      step: which checkpoint of a directory of several; the last if None.
      dtype: "float32" or "bfloat16" for parameters; optimizer slots keep their own.
      slots: "reset" drops the optimizer's state, "keep" converts it.
      layers: "scanned" stacks layers as T5X's scalable models do; for T5X formats only.
      family: Hugging Face model type to write; None: the source's, or what fits the model.
      vocabulary: SentencePiece model, or a directory holding one, that goes with the checkpoint.
      shard_bytes: largest safetensors file.
    """

    source: str
    target: str
    format: str = NATIVE
    step: int | None = None
    dtype: str = "float32"
    slots: str = "reset"
    layers: str = "unscanned"
    family: str | None = None
    vocabulary: str | None = None
    shard_bytes: int = 5_000_000_000

    def __post_init__(self):
        faults = []
        for name, known in (
            ("format", WRITABLE),
            ("dtype", ("float32", "bfloat16")),
            ("slots", SLOTS),
            ("layers", LAYERS),
        ):
            if getattr(self, name) not in known:
                faults.append(f"{name}: " + unknown_name("choice", str(getattr(self, name)), known))
        if self.family is not None and self.family not in ARCHITECTURES:
            faults.append("family: " + unknown_name("model type", self.family, ARCHITECTURES))
        if self.format == HUGGINGFACE and self.slots == "keep":
            faults.append("slots: Hugging Face directories hold no optimizer state, use 'reset'")
        if self.layers == "scanned" and self.format not in (LEGACY, ORBAX):
            faults.append(f"layers: only T5X formats have scanned layers, not '{self.format}'")
        if self.format == NATIVE and self.dtype != "float32":
            faults.append("dtype: nmt5 keeps parameters in float32")
        if self.shard_bytes < 1:
            faults.append(f"shard_bytes is {self.shard_bytes}, expected above 0")
        if faults:
            raise ConfigError("convert: " + "; ".join(faults))


@dataclasses.dataclass(frozen=True)
class Converted:
    """The outcome of a conversion.

    Attributes:
      path: the new checkpoint.
      model: its configuration.
      step: its training step, None if unknown.
      num_parameters: elements of all parameters.
      num_bytes: bytes written.
      seconds: time taken.
      notes: what the user should know.
    """

    path: str
    model: ModelConfig
    step: int | None
    num_parameters: int
    num_bytes: int
    seconds: float
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Move:
    """One tensor to write: its name and the parameters (all layers if stacked) that make it."""

    name: str
    spec: TensorSpec
    transform: Transform
    paths: tuple[str, ...]


def convert(config: ConvertConfig, *, report: Callable[[str], None] = print) -> Converted:
    """Converts a checkpoint.

    Args:
      config: source, target and choices.
      report: gets one line for each thing worth knowing; progress goes to standard error.

    Returns:
      What was made.

    Raises:
      CheckpointError: the source is damaged, incomplete, of another model, or holds NaN; nothing
        is left at the target.
      StorageError: the target exists already, or the disk has no room.
    """
    source = hub.resolve(config.source, report=report)
    opened = open_checkpoint(source, step=config.step)
    report(f"{config.source}: {opened.format}, {summary(opened)}")
    return convert_opened(opened, config, report=report)


def convert_opened(
    opened: OpenedCheckpoint, config: ConvertConfig, *, report: Callable[[str], None] = print
) -> Converted:
    """Converts a checkpoint that is open already; see `convert`."""
    started = time.monotonic()
    target = _target_path(config, opened.step)
    moves = _moves(config, opened)
    slots = None if config.slots == "reset" else SlotReader(opened)
    total = sum(move.spec.num_bytes for move in moves)
    if slots is not None:
        total += sum(spec.num_bytes for held in slots.specs.values() for spec in held.values())
    notes = [*opened.notes, *opened.check_duplicates(), *_warnings(config, opened)]
    for note in notes:
        report(f"note: {note}")
    with made_whole(target, num_bytes=total) as directory, byte_progress(total) as advance:
        writer = _writer(config, directory, moves)
        running = checksums.RunningChecksums(directory)

        def written(num_bytes: int) -> None:
            advance(num_bytes)
            if config.format == NATIVE and num_bytes >= SLAB_BYTES:
                running.look()

        _write_parameters(config, opened, moves, writer, written)
        if config.format != HUGGINGFACE:
            _write_step(config, opened, writer)
        if slots is not None:
            _write_slots(config, opened, moves, slots, writer, advance)
        write_beside(config, opened, directory, writer)
        writer.finish()
        if config.format == NATIVE:
            checksums.write_checksums(directory, flush=False, known=running.close())
    seconds = time.monotonic() - started
    num_parameters = sum(math.prod(s) for s in parameter_shapes(opened.config).values())
    report(f"wrote {target}: {total / 1e6:,.1f} MB in {seconds:.1f} s")
    return Converted(
        str(target), opened.config, opened.step, num_parameters, total, seconds, tuple(notes)
    )


def _target_path(config: ConvertConfig, step: int | None) -> epath.Path:
    target = epath.Path(config.target)
    if "://" in config.target:
        raise StorageError(
            f"convert: {config.target}: only local directories are written; copy it afterwards"
        )
    if config.format != HUGGINGFACE and not re.fullmatch(r"checkpoint_\d+", target.name):
        target = target / f"checkpoint_{step or 0}"
    return target


def _moves(config: ConvertConfig, opened: OpenedCheckpoint) -> list[_Move]:
    """Returns the tensors to write, in the order in which the source is read best."""
    model = opened.config
    table = _target_table(config, model)
    layers = {"encoder": model.num_encoder_layers, "decoder": model.num_decoder_layers}
    groups: dict[str, list[tuple[int, str]]] = {}
    transforms: dict[str, Transform] = {}
    for binding in opened.bindings.parameters:
        rules = table.rules_for(binding.path)
        if not rules:
            raise CheckpointError(
                f"convert: {binding.path} has no place in {table.name} names"
                + ("; scanned layers need a relative position table per layer"
                   if "relpos" in binding.path else "")
            )  # fmt: skip
        rule, layer = rules[0]
        name = rule.foreign.format(i=layer)
        groups.setdefault(name, []).append((layer or 0, binding.path))
        transforms[name] = rule.transform
    shapes = parameter_shapes(model)
    moves = []
    for name, members in groups.items():
        paths = tuple(path for _, path in sorted(members))
        shape = foreign_shape(
            shapes[paths[0]],
            transforms[name],
            num_heads=model.num_heads,
            num_layers=layers.get(paths[0].split("/", 1)[0], 1),
        )
        moves.append(_Move(name, TensorSpec(shape, DTYPES[config.dtype]), transforms[name], paths))
    return moves


def _target_table(config: ConvertConfig, model: ModelConfig) -> NameTable:
    per_layer = model.relative_bias == RELATIVE_BIAS_PER_LAYER
    if config.format == HUGGINGFACE:
        return huggingface_table(per_layer_bias=per_layer)
    if config.layers == "scanned":
        return t5x_scanned_table()
    # T5X's network with a table per layer keeps heads apart; nmt5's joins them.
    return t5x_unscanned_table(unjoined=per_layer and config.format != NATIVE)


def _writer(config: ConvertConfig, directory: epath.Path, moves: list[_Move]):
    if config.format == HUGGINGFACE:
        specs = {move.name: move.spec for move in moves}
        return SafetensorsWriter(directory, specs, shard_bytes=config.shard_bytes)
    return LegacyWriter(directory) if config.format == LEGACY else OrbaxWriter(directory)


def _write_parameters(config, opened: OpenedCheckpoint, moves, writer, advance) -> None:
    """Reads one tensor while the one before is written; memory holds these two."""
    bindings = {binding.path: binding for binding in opened.bindings.parameters}
    dtype = DTYPES[config.dtype]

    def read(move: _Move) -> np.ndarray:
        layers = []
        for path in move.paths:
            values = require_finite(opened, path, opened.read(bindings[path]))
            layers.append(values if values.dtype == dtype else values.astype(dtype))
            del values
        return to_foreign(layers, move.transform, num_heads=opened.config.num_heads)

    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        before = None
        for move in moves:
            values = read(move)
            if before is not None:
                before.result()
            before = pool.submit(writer.write, move.name, values)
            del values
            before.add_done_callback(lambda _, move=move: advance(move.spec.num_bytes))
        if before is not None:
            before.result()
    opened.release()


def _write_step(config, opened: OpenedCheckpoint, writer) -> None:
    step = np.asarray(opened.step or 0, np.int32)
    writer.write("state/step", step)
    if config.format == NATIVE:
        writer.write("state/skipped_steps", np.zeros((), np.int32))
        if config.slots == "keep":
            writer.write("state/optimizer/count", step)


def _write_slots(config, opened, moves, slots: SlotReader, writer, advance) -> None:
    native = config.format == NATIVE
    for move in moves:
        name = move.name.removeprefix("target/")
        for slot in SLOT_NAMES:
            if native and slot == "m" and slots.specs[move.paths[0]][slot].shape == (1,):
                continue  # nmt5 has momentum only where it is used
            values = written_slot(
                slots,
                slot,
                paths=move.paths,
                transform=move.transform,
                num_heads=opened.config.num_heads,
            )
            place = f"optimizer/{slot}/{name}" if native else f"param_states/{name}/{slot}"
            writer.write(f"state/{place}", values)
            advance(values.nbytes)


def _warnings(config: ConvertConfig, opened: OpenedCheckpoint) -> Iterator[str]:
    """Yields what is right but may surprise."""
    narrowed = {s.dtype.name for s in opened.reader.specs.values()} & {"float64"}
    if config.dtype == "bfloat16":
        narrowed |= {"float32"} & {s.dtype.name for s in opened.reader.specs.values()}
    if narrowed:
        yield f"{', '.join(sorted(narrowed))} is rounded to {config.dtype}"
    if config.format == HUGGINGFACE and opened.config.relative_bias == RELATIVE_BIAS_PER_LAYER:
        yield (
            "transformers 5.23 multiplies umT5's logits by D^-0.5 although its head is not tied; "
            "4.57 computes the right ones"
        )
    if config.slots == "reset" and opened.slots:
        yield "the optimizer's state is left out (slots='keep' converts it)"
    elif opened.slots and (exchanged := SlotReader(opened).num_exchanged):
        yield (
            f"v_row and v_col of {exchanged} square kernels are exchanged, Mesh TensorFlow and T5X "
            "name them differently"
        )
