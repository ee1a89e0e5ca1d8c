"""Conversion between any two checkpoint formats, one tensor at a time.

A conversion is: open (formats' readers), bind (mapping table of the source), order (mapping table
of the target), then for each tensor read, check, turn, cast, write. Memory holds about one tensor.
The result is made in a temporary directory that gets its name when everything is written.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
import os
import re
import shutil
import sys
import time
from typing import Any

from etils import epath
import numpy as np

from nmt5.checkpoints import checksums, hub
from nmt5.checkpoints.detect import FORMATS, open_checkpoint
from nmt5.checkpoints.huggingface import FORMAT as HUGGINGFACE
from nmt5.checkpoints.huggingface_export import (
    ARCHITECTURES,
    SafetensorsWriter,
    default_family,
    huggingface_config,
    tokenizer_files,
    write_companions,
)
from nmt5.checkpoints.mesh_tensorflow import FORMAT as MESH
from nmt5.checkpoints.mesh_tensorflow import is_exchanged
from nmt5.checkpoints.names import (
    NameTable,
    huggingface_table,
    t5x_scanned_table,
    t5x_unscanned_table,
)
from nmt5.checkpoints.opened import SLOT_NAMES, OpenedCheckpoint, summary
from nmt5.checkpoints.orientation import Transform, foreign_shape, to_foreign
from nmt5.checkpoints.param_paths import parameter_shapes
from nmt5.checkpoints.t5x import COMPANIONS_DIRECTORY, LEGACY, NATIVE, ORBAX
from nmt5.checkpoints.t5x_export import LegacyWriter, OrbaxWriter
from nmt5.checkpoints.tensors import DTYPES, TensorSpec, is_finite
from nmt5.core.errors import CheckpointError, ConfigError, StorageError, unknown_name
from nmt5.core.files import sha256, write_json
from nmt5.core.pytrees import unflatten_paths
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
        if self.layers == "scanned" and self.slots == "keep":
            faults.append("slots: those of scanned layers have another meaning, use 'reset'")
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
    slots = _slots(config, opened)
    total = sum(move.spec.num_bytes for move in moves)
    total += sum(spec.num_bytes for specs in slots.values() for spec in specs.values())
    notes = [*opened.notes, *opened.check_duplicates(), *_warnings(config, opened)]
    for note in notes:
        report(f"note: {note}")
    with _made_whole(target, num_bytes=total) as directory, _progress(total) as advance:
        writer = _writer(config, directory, moves)
        _write_parameters(config, opened, moves, writer, advance)
        _write_state(config, opened, slots, writer, advance, report)
        _write_companions(config, opened, directory, writer)
        writer.finish()
        if config.format == NATIVE:
            checksums.write_checksums(directory)
    seconds = time.monotonic() - started
    num_parameters = sum(math.prod(s) for s in parameter_shapes(opened.config).values())
    report(f"wrote {target}: {total / 1e6:,.1f} MB in {seconds:.1f} s")
    return Converted(
        str(target), opened.config, opened.step, num_parameters, total, seconds, tuple(notes)
    )


def import_public(
    path: os.PathLike | str, *, step: int | None = None
) -> tuple[dict[str, Any], ModelConfig, int | None]:
    """Loads the parameters of any public checkpoint, for a run to begin with.

    Args:
      path: as `ConvertConfig.source`.
      step: which checkpoint of a directory of several; the last if None.

    Returns:
      Nested dictionary of float32 NumPy arrays in T5X's tree, the model's configuration, and the
      training step if the format keeps one.

    Raises:
      CheckpointError: damaged, incomplete, holding NaN, or no T5-family model.
    """
    opened = open_checkpoint(hub.resolve(os.fspath(path)), step=step)
    opened.check_duplicates()
    flat = {}
    for binding in opened.bindings.parameters:
        values = _checked(opened, binding.path, opened.read(binding))
        flat[binding.path] = np.array(values, dtype=np.float32, order="C")
    return unflatten_paths(flat), opened.config, opened.step


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
    bindings = {binding.path: binding for binding in opened.bindings.parameters}
    dtype = DTYPES[config.dtype]
    for move in moves:
        layers = []
        for path in move.paths:
            values = _checked(opened, path, opened.read(bindings[path]))
            layers.append(values if values.dtype == dtype else values.astype(dtype))
            del values
        writer.write(
            move.name, to_foreign(layers, move.transform, num_heads=opened.config.num_heads)
        )
        advance(move.spec.num_bytes)
    opened.release()


def _checked(opened: OpenedCheckpoint, path: str, values: np.ndarray) -> np.ndarray:
    if not is_finite(values):
        bad = int(values.size - np.isfinite(values).sum())
        raise CheckpointError(
            f"{opened.reader.source}: {path}: {bad} of {values.size} values are NaN or infinite; "
            "the checkpoint is damaged or its training diverged"
        )
    return values


def _slots(config: ConvertConfig, opened: OpenedCheckpoint) -> dict[str, dict[str, TensorSpec]]:
    """Returns the optimizer slots that will be written, by parameter path and slot."""
    if config.slots == "reset":
        return {}
    if not opened.slots:
        raise CheckpointError(
            f"{opened.reader.source}: has no optimizer state that could be kept; use slots='reset'"
        )
    strange = []
    result = {}
    shapes = parameter_shapes(opened.config)
    for path, shape in shapes.items():
        held = opened.slots.get(path, {})
        specs = {slot: opened.reader.specs[name] for slot, name in held.items()}
        allowed = _slot_shapes(shape)
        for slot, spec in specs.items():
            if spec.shape not in allowed[slot] or spec.dtype.name not in ("float32", "bfloat16"):
                strange.append(f"  {held[slot]}: {spec}, parameter shape {list(shape)}")
        if not specs:
            strange.append(f"  {path}: no slot")
        one = TensorSpec((1,), DTYPES["float32"])
        result[path] = {slot: specs.get(slot, one) for slot in SLOT_NAMES}
    if strange:
        raise CheckpointError(
            f"{opened.reader.source}: optimizer state does not fit the parameters:\n"
            + "\n".join(strange[:40])
        )
    return result


def _slot_shapes(shape: tuple[int, ...]) -> dict[str, set[tuple[int, ...]]]:
    """Returns the shapes that Adafactor's slots of a parameter may have; (1,) is unused."""
    allowed = {slot: {(1,)} for slot in SLOT_NAMES}
    allowed["v"].add(shape)
    allowed["m"].add(shape)
    if len(shape) == 2:
        largest, second = np.argsort(shape, kind="stable")[::-1]
        allowed["v_row"].add((shape[second],))
        allowed["v_col"].add((shape[largest],))
    return allowed


def _write_state(config, opened: OpenedCheckpoint, slots, writer, advance, report) -> None:
    """Writes the step and the optimizer's slots."""
    if config.format == HUGGINGFACE:
        return
    step = np.asarray(opened.step or 0, np.int32)
    writer.write("state/step", step)
    native = config.format == NATIVE
    if native:
        writer.write("state/skipped_steps", np.zeros((), np.int32))
    if native and slots:
        writer.write("state/optimizer/count", step)
    exchanged = 0
    shapes = parameter_shapes(opened.config)
    for path, specs in slots.items():
        names = dict(opened.slots[path])
        if opened.format == MESH and is_exchanged(shapes[path]) and "v_row" in names:
            names["v_row"], names["v_col"] = names["v_col"], names["v_row"]
            exchanged += 1
        for slot, spec in specs.items():
            if native and slot == "m" and spec.shape == (1,):
                continue  # nmt5 has momentum only where it is used
            values = opened.reader.read(names[slot]) if slot in names else np.zeros(1, np.float32)
            _checked(opened, f"{path} {slot}", values)
            place = f"optimizer/{slot}/{path}" if native else f"param_states/{path}/{slot}"
            writer.write(f"state/{place}", values)
            advance(spec.num_bytes)
    if exchanged:
        report(
            f"note: v_row and v_col of {exchanged} square kernels were exchanged, Mesh TensorFlow "
            "and T5X name them differently"
        )


def _write_companions(config, opened: OpenedCheckpoint, directory: epath.Path, writer) -> None:
    """Writes config.json and tokenizer, or the description of a native checkpoint."""
    files = {name: epath.Path(path).read_bytes() for name, path in opened.companions.items()}
    model = None
    if config.vocabulary is not None:
        model = vocabulary_model(config.vocabulary)
        files = tokenizer_files(model, num_sentinels=100)
    elif "spiece.model" in files:
        model = files["spiece.model"]
    family = config.family or opened.stated.family or default_family(opened.config)
    extra = opened.stated.extra if opened.format == HUGGINGFACE else {}
    if opened.format == NATIVE and isinstance(opened.stated.extra.get("run"), Mapping):
        extra = opened.stated.extra["run"].get("huggingface", {})
    if config.format == HUGGINGFACE:
        write_companions(directory, files)
        content = huggingface_config(opened.config, family=family, dtype=config.dtype, extra=extra)
        write_json(directory / "config.json", content)
    elif config.format == NATIVE:
        writer.write_description(
            {
                "format": 1,
                "step": opened.step or 0,
                "model": opened.config.to_dict(),
                "vocabulary_fingerprint": "" if model is None else sha256(model),
                "vocabulary_size": 0 if model is None else _num_pieces(model),
                "mixture": "",
                "run": {
                    "converted_from": config.source,
                    "family": family,
                    "huggingface": dict(extra),
                },
            }
        )
        if files:
            (directory / COMPANIONS_DIRECTORY).mkdir()
            write_companions(directory / COMPANIONS_DIRECTORY, files)


def vocabulary_model(path: os.PathLike | str) -> bytes:
    """Returns the SentencePiece model at a path or in a directory; raises `CheckpointError`."""
    return vocabulary_path(path).read_bytes()


def vocabulary_path(path: os.PathLike | str) -> epath.Path:
    """Returns the SentencePiece file at a path or in a directory; raises `CheckpointError`."""
    path = epath.Path(path)
    for candidate in (path / "sentencepiece.model", path / "spiece.model", path):
        if candidate.is_file():
            return candidate
    raise CheckpointError(f"{path}: no SentencePiece model (sentencepiece.model, spiece.model)")


def _num_pieces(model: bytes) -> int:
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    except RuntimeError as error:
        raise CheckpointError(f"the vocabulary is no SentencePiece model ({error})") from error


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


@contextlib.contextmanager
def _made_whole(target: epath.Path, *, num_bytes: int) -> Iterator[epath.Path]:
    """Gives a temporary directory that becomes `target` if the body succeeds, else vanishes."""
    if target.exists():
        raise StorageError(f"convert: {target} exists already; remove it or choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < num_bytes * 1.01:
        raise StorageError(
            f"convert: {target.parent}: {num_bytes / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB "
            "are free"
        )
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}-{time.time_ns()}"
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], Any]]:
    """Gives a function to which bytes are reported; shows bytes and remaining time."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty()
    with tqdm(total=total, unit="B", unit_scale=True, desc="convert", disable=hidden) as bar:
        yield bar.update
