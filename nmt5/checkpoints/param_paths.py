"""The parameters that a model must have: paths and shapes from a configuration, and back.

One table of path templates serves the expected shapes, the inference of a configuration from a
checkpoint's tensors, and the mapping tables in `names`.
"""

from collections.abc import Mapping
import dataclasses
import re

from nmt5.checkpoints.tensors import TensorSpec
from nmt5.core.errors import CheckpointError, ConfigError
from nmt5.model.config import RELATIVE_BIAS_PER_LAYER, RELATIVE_BIAS_SHARED, ModelConfig

EMBEDDING = "token_embedder/embedding"
HEAD = "decoder/logits_dense/kernel"

_ATTENTION = {"query": "DJ", "key": "DJ", "value": "DJ", "out": "JD"}
ATTENTIONS = {
    "encoder": ("attention",),
    "decoder": ("self_attention", "encoder_decoder_attention"),
}
NORMS = {
    "encoder": ("pre_attention_layer_norm", "pre_mlp_layer_norm"),
    "decoder": ("pre_self_attention_layer_norm", "pre_cross_attention_layer_norm",
                "pre_mlp_layer_norm"),
}  # fmt: skip
MLPS = {"wi": "DF", "wi_0": "DF", "wi_1": "DF", "wo": "FD"}


def _templates() -> dict[str, str]:
    table = {EMBEDDING: "VD", HEAD: "DV"}
    for stack in ("encoder", "decoder"):
        layer = f"{stack}/layers_{{i}}"
        table[f"{stack}/relpos_bias/rel_embedding"] = "HR"
        table[f"{layer}/relpos_bias/rel_embedding"] = "HR"
        for attention in ATTENTIONS[stack]:
            for part, letters in _ATTENTION.items():
                table[f"{layer}/{attention}/{part}/kernel"] = letters
        for norm in NORMS[stack]:
            table[f"{layer}/{norm}/scale"] = "D"
        for part, letters in MLPS.items():
            table[f"{layer}/mlp/{part}/kernel"] = letters
        table[f"{stack}/{stack}_norm/scale"] = "D"
    return table


# Path under the parameters -> shape letters of nmt5.core.axes. {i} stands for the layer.
TEMPLATES: Mapping[str, str] = _templates()


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Returns `{path: shape}` of every parameter of a model, in T5X's unscanned layout.

    Args:
      config: the model.

    Returns:
      Paths joined with '/', such as `encoder/layers_0/attention/query/kernel`.
    """
    sizes = {
        "V": config.vocab_size, "D": config.emb_dim, "J": config.joined_dim, "F": config.mlp_dim,
        "H": config.num_heads, "R": config.relative_buckets,
    }  # fmt: skip
    layers = {"encoder": config.num_encoder_layers, "decoder": config.num_decoder_layers}
    gated = len(config.mlp_activations) > 1
    per_layer = config.relative_bias == RELATIVE_BIAS_PER_LAYER
    shapes = {}
    for template, letters in TEMPLATES.items():
        if template == HEAD and config.logits_via_embedding:
            continue
        if "/relpos_bias/" in template and ("{i}" in template) != per_layer:
            continue
        if "/mlp/wi" in template and ("/wi_" in template) != gated:
            continue
        shape = tuple(sizes[letter] for letter in letters)
        count = layers[template.split("/", 1)[0]] if "{i}" in template else 1
        for i in range(count):
            shapes[template.replace("{i}", str(i))] = shape
    return shapes


@dataclasses.dataclass(frozen=True)
class StatedConfig:
    """What a checkpoint says of its model besides the tensors; None where it says nothing.

    Attributes:
      fields: `ModelConfig` fields by name.
      where: the file that says so.
      family: the format's own name of the model, such as Hugging Face's "mt5".
      extra: further fields of the same file, kept for the way back.
    """

    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    where: str = "the checkpoint"
    family: str | None = None
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)


def infer_config(found: Mapping[str, TensorSpec], *, stated: StatedConfig, source: str):
    """Returns the configuration that a checkpoint's parameters imply.

    Args:
      found: specs by T5X path; may lack parameters.
      stated: what the checkpoint says itself; settles what shapes cannot tell (activations,
        dropout, distances) and is compared with what they can.
      source: name of the checkpoint for messages.

    Returns:
      A `ModelConfig`.

    Raises:
      CheckpointError: the essential tensors are missing, or tensors contradict the stated config.
    """
    _check_parts(found, source=source)
    sizes = _letter_sizes(found)
    layers = {
        stack: 1 + max(int(m[1]) for p in found if (m := re.match(rf"{stack}/layers_(\d+)/", p)))
        for stack in ("encoder", "decoder")
    }
    missing = [letter for letter in "VDJFHR" if letter not in sizes]
    if missing:
        raise CheckpointError(
            f"{source}: no tensor tells "
            + ", ".join(_LETTER_FIELDS[letter] for letter in missing)
            + "; a relative position table ('rel_embedding') or feed-forward block is missing"
        )
    per_layer = any(re.search(r"layers_\d+/relpos_bias/", path) for path in found)
    seen = {
        "vocab_size": sizes["V"],
        "emb_dim": sizes["D"],
        "num_heads": sizes["H"],
        "mlp_dim": sizes["F"],
        "num_encoder_layers": layers["encoder"],
        "num_decoder_layers": layers["decoder"],
        "logits_via_embedding": HEAD not in found,
        "relative_bias": RELATIVE_BIAS_PER_LAYER if per_layer else RELATIVE_BIAS_SHARED,
        "relative_buckets": sizes["R"],
        "head_dim": sizes["J"] // sizes["H"],
    }
    if sizes["J"] % sizes["H"]:
        raise CheckpointError(
            f"{source}: attention kernels have {sizes['J']} joined columns, not a multiple of the "
            f"{sizes['H']} heads of the relative position table"
        )
    contradictions = [
        f"  {name}: {stated.where} says {stated.fields[name]!r}, the tensors say {value!r}"
        + _vocabulary_hint(name, stated.fields[name], value)
        for name, value in seen.items()
        if name in stated.fields and stated.fields[name] != value
    ]
    if contradictions:
        raise CheckpointError(
            f"{source}: tensors and {stated.where} contradict each other:\n"
            + "\n".join(contradictions)
            + f"\ncorrect {stated.where} if the tensors are right"
        )
    gated = any("/mlp/wi_0/" in path for path in found)
    default = ("gelu", "linear") if gated else ("relu",)
    if seen["logits_via_embedding"] and gated and "mlp_activations" not in stated.fields:
        default = ("gelu", "linear")
    fields = {"mlp_activations": default} | dict(stated.fields) | seen
    if (len(fields["mlp_activations"]) > 1) != gated:
        raise CheckpointError(
            f"{source}: {stated.where} says mlp_activations {fields['mlp_activations']}, but the "
            f"feed-forward blocks have {'wi_0 and wi_1' if gated else 'one wi'}"
        )
    try:
        return ModelConfig(**fields)
    except ConfigError as error:
        raise CheckpointError(f"{source}: no possible model: {error}") from error


_LETTER_FIELDS = {
    "V": "the vocabulary size",
    "D": "the model width",
    "J": "the attention width",
    "F": "the feed-forward width",
    "H": "the number of heads",
    "R": "the number of relative position buckets",
}


def _check_parts(found: Mapping[str, TensorSpec], *, source: str) -> None:
    """Names the large parts that are absent altogether."""
    with_layers = {path.split("/", 1)[0] for path in found if "/layers_" in path}
    absent = [stack for stack in ("encoder", "decoder") if stack not in with_layers]
    if EMBEDDING not in found:
        absent.append(f"token embedding ('{EMBEDDING}')")
    if absent:
        only = "an encoder-only model; " if absent == ["decoder"] else ""
        raise CheckpointError(
            f"{source}: {only}no tensor belongs to the {' nor to the '.join(absent)}; nmt5 needs a "
            "whole encoder-decoder model of the T5 family"
        )


def _letter_sizes(found: Mapping[str, TensorSpec]) -> dict[str, int]:
    """Returns the most frequent size of each shape letter, so that one damaged shape stands out."""
    votes: dict[str, dict[int, int]] = {}
    for path, spec in found.items():
        letters = TEMPLATES.get(re.sub(r"layers_\d+", "layers_{i}", path), "")
        if len(letters) != len(spec.shape):
            continue
        for letter, size in zip(letters, spec.shape, strict=True):
            count = votes.setdefault(letter, {})
            # The embedding decides on V against a damaged head.
            count[size] = count.get(size, 0) + (2 if path == EMBEDDING else 1)
    return {letter: max(count, key=count.__getitem__) for letter, count in votes.items()}


def _vocabulary_hint(name: str, stated: object, found: object) -> str:
    if name != "vocab_size" or not isinstance(stated, int) or not isinstance(found, int):
        return ""
    low, high = sorted((stated, found))
    if high - low < 128 and high % 128 == 0:
        return f" (the vocabulary of {low} padded to {high} rows, a multiple of 128)"
    return ""
