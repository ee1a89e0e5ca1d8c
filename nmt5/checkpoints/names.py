"""Mapping tables between the tensor names of each format and T5X's parameter paths.

A rule pairs two name templates; `{i}` is the layer. The same table is read in both directions, so
an import and its export cannot drift apart.
"""

import dataclasses
import functools
import re

from nmt5.checkpoints.orientation import Transform
from nmt5.checkpoints.param_paths import ATTENTIONS, EMBEDDING, HEAD, MLPS, NORMS, TEMPLATES


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
