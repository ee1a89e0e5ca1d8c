"""Every tensor of a checkpoint and every parameter of its model, matched exactly once."""

from collections.abc import Iterable, Mapping
import dataclasses
import difflib
import re

from nmt5.checkpoints.names import NameTable, Rule
from nmt5.checkpoints.orientation import Transform, t5x_shape
from nmt5.checkpoints.param_paths import EMBEDDING, HEAD
from nmt5.checkpoints.tensors import TensorSpec
from nmt5.core.errors import CheckpointError

# More than any model has; a damaged file may claim billions.
MAX_LAYERS = 10_000


@dataclasses.dataclass(frozen=True)
class Binding:
    """One T5X parameter and the foreign tensor that holds it."""

    path: str
    foreign: str
    transform: Transform
    layer: int = 0


@dataclasses.dataclass(frozen=True)
class Bindings:
    """The outcome of `bind`.

    Attributes:
      parameters: one binding per T5X parameter, in the order of the foreign tensors.
      duplicates: (foreign name, name of the foreign tensor that it must equal).
      unused: (foreign name, why it is not needed).
    """

    parameters: tuple[Binding, ...]
    duplicates: tuple[tuple[str, str], ...]
    unused: tuple[tuple[str, str], ...]


def guess_parameters(table: NameTable, specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Returns specs by T5X path of all foreign tensors that the table knows.

    Shapes are given as they would be after the transform; a tensor of another rank is left out, so
    that `bind` reports it.
    """
    found: dict[str, TensorSpec] = {}
    for foreign, spec in specs.items():
        located = table.locate(foreign)
        if located is None:
            continue
        rule, layer = located
        try:
            if rule.transform.stacked:
                shape = t5x_shape(spec.shape, rule.transform)
                for i in range(min(spec.shape[1], MAX_LAYERS)):
                    found[rule.target.format(i=i)] = TensorSpec(shape, spec.dtype)
            else:
                shape = t5x_shape(spec.shape, rule.transform)
                path = rule.target if layer is None else rule.target.format(i=layer)
                found.setdefault(path, TensorSpec(shape, spec.dtype))
        except (IndexError, ValueError):
            continue
    return found


def bind(
    table: NameTable,
    specs: Mapping[str, TensorSpec],
    *,
    expected: Mapping[str, tuple[int, ...]],
    source: str,
) -> Bindings:
    """Matches every foreign tensor and every parameter exactly once.

    Args:
      table: the format's names.
      specs: all foreign tensors.
      expected: shape of every parameter by T5X path.
      source: name of the checkpoint for messages.

    Returns:
      The bindings.

    Raises:
      CheckpointError: lists every parameter without a tensor, every tensor without a parameter,
        every wrong shape and element type.
    """
    order = {name: position for position, name in enumerate(specs)}
    bound: list[Binding] = []
    used: set[str] = set()
    missing: list[str] = []
    wrong: list[str] = []
    for path, shape in expected.items():
        candidates = [
            Binding(path, rule.foreign.format(i=layer), rule.transform, layer or 0)
            for rule, layer in table.rules_for(path)
        ]
        present = [c for c in candidates if c.foreign in specs]
        if not present:
            missing.append(path)
            continue
        if len(present) > 1:
            wrong.append(f"  {path}: held twice, as " + " and ".join(c.foreign for c in present))
        binding = present[0]
        used.update(c.foreign for c in present)
        spec = specs[binding.foreign]
        found = _found_shape(spec, binding)
        if found != shape:
            wrong.append(f"  {binding.foreign}: {spec} found, {path} needs {list(shape)}")
        elif spec.dtype.name not in ("float32", "bfloat16", "float16", "float64"):
            wrong.append(f"  {binding.foreign}: element type {spec.dtype.name}, expected floats")
        bound.append(binding)
    duplicates, unused, strangers = _leftovers(table, specs, used)
    if missing or wrong or strangers:
        raise CheckpointError(_report(table, specs, source, expected, missing, wrong, strangers))
    bound.sort(key=lambda b: (order[b.foreign], b.layer))
    return Bindings(tuple(bound), tuple(duplicates), tuple(unused))


def _found_shape(spec: TensorSpec, binding: Binding) -> tuple[int, ...] | None:
    try:
        if binding.transform.stacked and binding.layer >= spec.shape[1]:
            return None
        return t5x_shape(spec.shape, binding.transform)
    except (IndexError, ValueError):
        return None


def _leftovers(table: NameTable, specs: Iterable[str], used: set[str]):
    """Sorts the tensors that no parameter took: duplicates, known unused ones, strangers."""
    duplicates, unused, strangers = [], [], []
    for name in specs:
        if name in used:
            continue
        original = next((o for p, o in table.duplicates if re.fullmatch(p, name)), None)
        reason = next((why for p, why in table.unused if re.fullmatch(p, name)), None)
        if original is not None and original in used:
            duplicates.append((name, original))
        elif reason is not None:
            unused.append((name, reason))
        else:
            strangers.append(name)
    return duplicates, unused, strangers


def _report(table, specs, source, expected, missing, wrong, strangers, limit: int = 40) -> str:
    """Returns the list of everything that does not fit, with nearest names."""
    lines = [f"{source}: does not fit the model ({table.name} names)"]

    def add(title, items, line):
        if items:
            lines.append(f"{title} ({len(items)}):")
            lines.extend(line(item) for item in items[:limit])
            if len(items) > limit:
                lines.append(f"  and {len(items) - limit} more")

    def lacking(path):
        rules = table.rules_for(path)
        rule, layer = rules[0] if rules else (Rule(path, path), None)
        name = rule.foreign.format(i=layer)
        near = difflib.get_close_matches(name, strangers, n=1, cutoff=0.8)
        hint = f"; nearest unmatched: {near[0]} {specs[near[0]]}" if near else ""
        what = {HEAD: " (the output head)", EMBEDDING: " (the token embedding)"}.get(path, "")
        return f"  {name} for {path}{what}, T5X shape {list(expected[path])}{hint}"

    add("parameters without a tensor", missing, lacking)
    add("wrong tensors", wrong, str)
    add("tensors without a parameter", strangers, lambda name: f"  {name}: {specs[name]}")
    return "\n".join(lines)
