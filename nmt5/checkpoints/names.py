"""Mapping tables between the tensor names of each format and T5X's parameter paths.

A rule pairs two name templates; `{i}` is the layer. The same table is read in both directions, so
an import and its export cannot drift apart. `bind` matches every tensor on both sides exactly once
or lists all that is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import difflib
import enum
import functools
import re

import numpy as np

from nmt5.checkpoints.param_paths import ATTENTIONS, EMBEDDING, HEAD, MLPS, NORMS, TEMPLATES
from nmt5.checkpoints.tensors import TensorSpec
from nmt5.core.errors import CheckpointError

# More than any model has; a damaged file may claim billions.
MAX_LAYERS = 10_000


class Transform(enum.Enum):
    """How a foreign tensor becomes a T5X one."""

    SAME = "same"
    TRANSPOSE = "transpose"
    JOIN_LAST = "heads joined, (D, H, K) to (D, J)"
    JOIN_FIRST = "heads joined, (H, K, D) to (J, D)"
    # Stacked: axis 1 of the foreign tensor is the layer.
    LAYER = "layer of axis 1"
    LAYER_JOIN_LAST = "layer of axis 1, (D, L, H, K) to (D, J)"
    LAYER_JOIN_FIRST = "layer of axis 1, (H, L, K, D) to (J, D)"

    @property
    def stacked(self) -> bool:
        """Whether one foreign tensor holds all layers."""
        return self.name.startswith("LAYER")


def to_t5x(values: np.ndarray, transform: Transform, *, layer: int = 0) -> np.ndarray:
    """Returns the T5X tensor held in a foreign one; a view where possible.

    Args:
      values: the foreign tensor.
      transform: how the two differ.
      layer: which layer to take of a stacked tensor.
    """
    if transform is Transform.SAME:
        return values
    if transform is Transform.TRANSPOSE:
        return values.T
    if transform.stacked:
        values = values[:, layer]
    if transform in (Transform.JOIN_LAST, Transform.LAYER_JOIN_LAST):
        return values.reshape(values.shape[0], -1)
    if transform in (Transform.JOIN_FIRST, Transform.LAYER_JOIN_FIRST):
        return values.reshape(-1, values.shape[-1])
    return values


def to_foreign(layers: Sequence[np.ndarray], transform: Transform, *, num_heads: int) -> np.ndarray:
    """Returns the foreign tensor made of one T5X tensor, or of those of all layers.

    Args:
      layers: one array, or one per layer where the transform is stacked.
      transform: how the two differ.
      num_heads: H, to split a joined axis.
    """
    if transform is Transform.SAME:
        return layers[0]
    if transform is Transform.TRANSPOSE:
        return layers[0].T
    if transform in (Transform.JOIN_LAST, Transform.LAYER_JOIN_LAST):
        split = [x.reshape(x.shape[0], num_heads, -1) for x in layers]
    elif transform in (Transform.JOIN_FIRST, Transform.LAYER_JOIN_FIRST):
        split = [x.reshape(num_heads, -1, x.shape[-1]) for x in layers]
    else:
        split = list(layers)
    return np.stack(split, axis=1) if transform.stacked else split[0]


def foreign_shape(
    shape: tuple[int, ...], transform: Transform, *, num_heads: int, num_layers: int
) -> tuple[int, ...]:
    """Returns the shape that `to_foreign` gives, without data."""
    # A broadcast scalar has the shape and no memory.
    one = np.broadcast_to(np.zeros((), np.int8), shape)
    if transform.stacked:
        rest = {
            Transform.LAYER: shape,
            Transform.LAYER_JOIN_LAST: (shape[0], num_heads, shape[-1] // num_heads),
            Transform.LAYER_JOIN_FIRST: (num_heads, shape[0] // num_heads, shape[-1]),
        }[transform]
        return (rest[0], num_layers, *rest[1:])
    return to_foreign([one], transform, num_heads=num_heads).shape


@dataclasses.dataclass(frozen=True)
class Rule:
    """One pair of name templates.

    Attributes:
      foreign: the format's name; `{i}`, or `{i:03d}` with zeros, is the layer.
      target: T5X's path; has `{i}` if and only if it belongs to a layer.
      transform: how the foreign tensor becomes T5X's.
    """

    foreign: str
    target: str
    transform: Transform = Transform.SAME


@dataclasses.dataclass(frozen=True)
class NameTable:
    """All names of one format.

    Attributes:
      name: what the format is called in messages.
      rules: pairs of names; where several fit a path, the first is written.
      duplicates: (pattern, name template): foreign tensors that must equal another foreign one.
      unused: patterns of foreign tensors without a place in the model, and why.
    """

    name: str
    rules: tuple[Rule, ...]
    duplicates: tuple[tuple[str, str], ...] = ()
    unused: tuple[tuple[str, str], ...] = ()

    def locate(self, foreign: str) -> tuple[Rule, int | None] | None:
        """Returns the rule and layer of a foreign name, or None."""
        for rule, pattern in _patterns(self.rules, "foreign"):
            if match := pattern.fullmatch(foreign):
                layer = match.groupdict().get("i")
                if layer is None or foreign == rule.foreign.format(i=int(layer)):
                    return rule, None if layer is None else int(layer)
        return None

    def rules_for(self, path: str) -> list[tuple[Rule, int | None]]:
        """Returns every rule that yields a T5X path, with the layer."""
        found = []
        for rule, pattern in _patterns(self.rules, "target"):
            if match := pattern.fullmatch(path):
                layer = match.groupdict().get("i")
                found.append((rule, None if layer is None else int(layer)))
        return found


@functools.lru_cache(maxsize=64)
def _patterns(rules: tuple[Rule, ...], side: str) -> tuple[tuple[Rule, re.Pattern], ...]:
    """Compiles one side of all rules; a layer is at most 4 digits."""
    compiled = []
    for rule in rules:
        text = re.escape(getattr(rule, side))
        text = re.sub(r"\\\{i(:03d)?\\\}", r"(?P<i>\\d{1,4})", text)
        compiled.append((rule, re.compile(text)))
    return tuple(compiled)


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
        # A scalar without memory has the shape, and the transform acts on it.
        empty = np.broadcast_to(np.zeros((), np.int8), spec.shape)
        try:
            if rule.transform.stacked:
                shape = _after(empty, rule.transform)
                for i in range(min(spec.shape[1], MAX_LAYERS)):
                    found[rule.target.format(i=i)] = TensorSpec(shape, spec.dtype)
            else:
                shape = _after(empty, rule.transform)
                path = rule.target if layer is None else rule.target.format(i=layer)
                found.setdefault(path, TensorSpec(shape, spec.dtype))
        except (IndexError, ValueError):
            continue
    return found


def _after(empty: np.ndarray, transform: Transform) -> tuple[int, ...]:
    shape = empty.shape
    if transform.stacked:
        shape = (shape[0], *shape[2:])
    if transform in (Transform.JOIN_LAST, Transform.LAYER_JOIN_LAST):
        d, h, k = shape
        return (d, h * k)
    if transform in (Transform.JOIN_FIRST, Transform.LAYER_JOIN_FIRST):
        h, k, d = shape
        return (h * k, d)
    return shape[::-1] if transform is Transform.TRANSPOSE else shape


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
        return _after(np.broadcast_to(np.zeros((), np.int8), spec.shape), binding.transform)
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


# --- Hugging Face -------------------------------------------------------------------------------


def _huggingface_names() -> list[tuple[str, str, bool]]:
    """Returns (name, T5X path, whether a Linear weight, hence transposed)."""
    names = [("shared.weight", EMBEDDING, False), ("lm_head.weight", HEAD, True)]
    attention_parts = {"q": "query", "k": "key", "v": "value", "o": "out"}
    for stack, attentions in ATTENTIONS.items():
        block = f"{stack}.block.{{i}}.layer"
        layer = f"{stack}/layers_{{i}}"
        for j, attention in enumerate(attentions):
            module = "EncDecAttention" if "encoder_decoder" in attention else "SelfAttention"
            for short, part in attention_parts.items():
                foreign = f"{block}.{j}.{module}.{short}.weight"
                names.append((foreign, f"{layer}/{attention}/{part}/kernel", True))
        table = "layer.0.SelfAttention.relative_attention_bias.weight"
        names.append((f"{stack}.block.0.{table}", f"{stack}/relpos_bias/rel_embedding", True))
        names.append((f"{stack}.block.{{i}}.{table}", f"{layer}/relpos_bias/rel_embedding", True))
        last = len(attentions)
        for part in MLPS:
            foreign = f"{block}.{last}.DenseReluDense.{part}.weight"
            names.append((foreign, f"{layer}/mlp/{part}/kernel", True))
        for j, norm in enumerate(NORMS[stack]):
            names.append((f"{block}.{j}.layer_norm.weight", f"{layer}/{norm}/scale", False))
        names.append((f"{stack}.final_layer_norm.weight", f"{stack}/{stack}_norm/scale", False))
    return names


_STRAY_BIAS = (
    r"decoder.block.\d+.layer.1.EncDecAttention.relative_attention_bias.(weight|embedding)",
    "cross-attention has no relative bias; early transformers versions saved one",
)


def huggingface_table(*, per_layer_bias: bool) -> NameTable:
    """Returns the names of a Hugging Face state dict (safetensors, PyTorch).

    Args:
      per_layer_bias: True for umT5, where every block holds a relative position table; otherwise
        block 0's table is the stack's.
    """
    rules = tuple(
        Rule(name, path, Transform.TRANSPOSE if linear else Transform.SAME)
        for name, path, linear in _huggingface_names()
        if "relpos_bias" not in path or ("{i}" in path) == per_layer_bias
    )
    return NameTable(
        name="Hugging Face",
        rules=rules,
        duplicates=(
            (r"(encoder|decoder)\.embed_tokens\.weight", "shared.weight"),
            (r"lm_head\.weight", "shared.weight"),
        ),
        unused=(_STRAY_BIAS,),
    )


def huggingface_flax_table(*, per_layer_bias: bool) -> NameTable:
    """Returns the names in `flax_model.msgpack`: Linear weights are kernels in T5X's orientation.

    Relative tables are embeddings, (buckets, H) as in PyTorch.
    """

    def leaf(name: str, path: str, linear: bool) -> Rule:
        stem = name.removesuffix(".weight")
        if "relative_attention_bias" in name:
            return Rule(f"{stem}.embedding", path, Transform.TRANSPOSE)
        if name == "shared.weight":
            return Rule(f"{stem}.embedding", path)
        return Rule(f"{stem}.kernel" if linear else name, path)

    rules = tuple(
        leaf(name, path, linear)
        for name, path, linear in _huggingface_names()
        if "relpos_bias" not in path or ("{i}" in path) == per_layer_bias
    )
    return NameTable(name="Hugging Face Flax", rules=rules, unused=(_STRAY_BIAS,))


# --- T5X ----------------------------------------------------------------------------------------


def t5x_unscanned_table(*, unjoined: bool = False) -> NameTable:
    """Returns T5X's own names, one module per layer.

    Args:
      unjoined: attention kernels keep heads and head size apart, as `scan_layers=False` of
        T5X's scalable model has them.
    """

    def transform(path: str) -> Transform:
        if not unjoined or "attention/" not in path:
            return Transform.SAME
        return Transform.JOIN_FIRST if "/out/" in path else Transform.JOIN_LAST

    rules = tuple(Rule(f"target/{path}", path, transform(path)) for path in TEMPLATES)
    return NameTable(name="T5X unscanned", rules=rules)


def t5x_scanned_table() -> NameTable:
    """Returns the names of T5X's scanned layers: axis 1 is the layer, heads are not joined."""
    rules = []
    for path in TEMPLATES:
        stack = path.split("/", 1)[0]
        if path == f"{stack}/relpos_bias/rel_embedding":
            continue  # scanned models have a table per layer
        foreign = "target/" + path.replace("layers_{i}", stack)
        if "{i}" not in path:
            rules.append(Rule(foreign, path))
        elif "attention/" in path:
            out = "/out/" in path
            join = Transform.LAYER_JOIN_FIRST if out else Transform.LAYER_JOIN_LAST
            rules.append(Rule(foreign, path, join))
        else:
            rules.append(Rule(foreign, path, Transform.LAYER))
    return NameTable(name="T5X scanned", rules=tuple(rules))


# --- Mesh TensorFlow ----------------------------------------------------------------------------


def mesh_tensorflow_table(*, per_layer_bias: bool) -> NameTable:
    """Returns the names of legacy Mesh TensorFlow checkpoints; shapes are T5X's.

    Norms are called `rms_norm` or `layer_norm`, depending on the version that trained.
    """
    rules = [Rule("shared/embedding", EMBEDDING), Rule("decoder/logits/kernel", HEAD)]
    for name, path, _ in _huggingface_names()[2:]:
        if "relpos_bias" in path and ("{i}" in path) != per_layer_bias:
            continue
        stack, *rest = name.removesuffix(".weight").split(".")
        if rest == ["final_layer_norm"]:
            for norm in ("rms_norm", "final_layer_norm", "layer_norm"):
                rules.append(Rule(f"{stack}/{norm}/scale", path))
            continue
        _, block, _, j, *module = rest
        block = block if block == "{i}" else f"{int(block):03d}"
        stem = f"{stack}/block_{block}/layer_{int(j):03d}".replace("{i}", "{i:03d}")
        if module == ["layer_norm"]:
            for norm in ("rms_norm", "layer_norm"):
                rules.append(Rule(f"{stem}/{norm}/scale", path))
        elif module[0] == "DenseReluDense":
            rules.append(Rule(f"{stem}/DenseReluDense/{module[1]}/kernel", path))
        else:
            rules.append(Rule(f"{stem}/" + "/".join(module), path))
    return NameTable(
        name="Mesh TensorFlow",
        rules=tuple(rules),
        unused=((r"global_step", "read as the step"),),
    )
