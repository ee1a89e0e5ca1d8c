"""Hugging Face directories: safetensors, PyTorch or Flax weights, in shards or not."""

from collections.abc import Callable, Mapping
import dataclasses
import json
import os

from etils import epath

from nmt5.checkpoints.msgpack_file import parse_msgpack
from nmt5.checkpoints.names import huggingface_flax_table, huggingface_table
from nmt5.checkpoints.opened import (
    OpenedCheckpoint,
    equal_tensors,
    has_per_layer_bias,
    open_tensors,
)
from nmt5.checkpoints.param_paths import StatedConfig
from nmt5.checkpoints.safetensors_file import parse_safetensors
from nmt5.checkpoints.tensors import StoredTensor, StoredTensorReader, checked_file_name
from nmt5.checkpoints.torch_file import parse_torch
from nmt5.core.errors import CheckpointError, unknown_name
from nmt5.core.pytrees import flatten_paths

FORMAT = "huggingface"
FAMILIES = ("mt5", "t5", "umt5")
TOKENIZER_FILES = (
    "spiece.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "generation_config.json",
)  # fmt: skip
_MAX_JSON_BYTES = 64 * 2**20
_CONFIG_FIELDS = {
    "vocab_size": "vocab_size", "d_model": "emb_dim", "num_heads": "num_heads",
    "d_kv": "head_dim", "d_ff": "mlp_dim", "num_layers": "num_encoder_layers",
    "num_decoder_layers": "num_decoder_layers", "dropout_rate": "dropout_rate",
    "relative_attention_num_buckets": "relative_buckets",
    "relative_attention_max_distance": "relative_max_distance",
}  # fmt: skip
_ACTIVATIONS = {
    "relu": ("relu",), "silu": ("silu",), "gelu_new": ("gelu",), "gated-gelu": ("gelu", "linear"),
    "gated-gelu_new": ("gelu", "linear"), "gated-silu": ("silu", "linear"),
    "gated-relu": ("relu", "linear"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Weights:
    """One way to keep weights in a directory."""

    single: str
    parse: Callable[[epath.Path], dict[str, StoredTensor]]
    flax: bool = False

    @property
    def index(self) -> str:
        return f"{self.single}.index.json"


def _parse_flax(path: epath.Path) -> dict[str, StoredTensor]:
    tree = parse_msgpack(path)
    flat = flatten_paths(tree) if isinstance(tree, dict) else {}
    odd = [name for name, leaf in flat.items() if not isinstance(leaf, StoredTensor)]
    if odd or not flat:
        raise CheckpointError(f"{path}: no parameters: {', '.join(odd[:20]) or 'it is empty'}")
    return {name.replace("/", "."): leaf for name, leaf in flat.items()}


WEIGHTS = (
    _Weights("model.safetensors", parse_safetensors),
    _Weights("pytorch_model.bin", parse_torch),
    _Weights("flax_model.msgpack", _parse_flax, flax=True),
)


def find_weights(path: epath.Path) -> tuple[_Weights, bool] | None:
    """Returns how a directory keeps its weights and whether in shards, or None."""
    for weights in WEIGHTS:
        for name, sharded in ((weights.index, True), (weights.single, False)):
            if (path / name).exists():
                return weights, sharded
    return None


def open_huggingface(path: os.PathLike | str) -> OpenedCheckpoint:
    """Opens a Hugging Face directory of a T5-family model.

    Args:
      path: a directory with `config.json` and weights in one of three formats. Where several are
        present, safetensors are taken first, then PyTorch's, then Flax's.

    Returns:
      The checkpoint, nothing loaded.

    Raises:
      CheckpointError: files are missing or damaged, or do not make a T5-family model.
    """
    path = epath.Path(path)
    found = find_weights(path)
    if found is None:
        names = ", ".join(w.single for w in WEIGHTS)
        raise CheckpointError(f"{path}: none of {names} (or their index files) is there")
    weights, sharded = found
    if sharded:
        tensors, files = _read_shards(path, weights)
    else:
        tensors = weights.parse(path / weights.single)
        files = {weights.single: path / weights.single}
    reader = StoredTensorReader(tensors, files=files)
    reader.source = str(path)
    stated = read_config(path / "config.json")
    return _open(reader, stated=stated, flax=weights.flax, path=path)


def _open(
    reader: StoredTensorReader, *, stated: StatedConfig, flax: bool, path: epath.Path
) -> OpenedCheckpoint:
    leaf = "embedding" if flax else "weight"
    pattern = rf"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\.{leaf}"
    per_layer = stated.family == "umt5" or has_per_layer_bias(reader.specs, pattern)
    table = (huggingface_flax_table if flax else huggingface_table)(per_layer_bias=per_layer)
    head, shared = ("lm_head.kernel", "shared.embedding") if flax else (
        "lm_head.weight", "shared.weight"
    )  # fmt: skip
    notes = []
    fields = dict(stated.fields)
    tied = bool(fields.pop("logits_via_embedding", False))
    specs = dict(reader.specs)
    if head in specs and tied and not flax and shared in specs:
        if equal_tensors(reader, head, shared):
            # A tied model's file may repeat the table; then the head is no parameter of its own.
            notes.append(f"{head} equals {shared}, as {stated.where} says: the head is tied")
            table = dataclasses.replace(
                table, rules=tuple(r for r in table.rules if r.foreign != head)
            )
        else:
            notes.append(
                f"{stated.where} says that the head is tied, but {head} differs from {shared}: "
                "read as a separate head (transformers 5 writes the flag wrongly)"
            )
    elif head not in specs and shared in specs and not (tied and stated.family == "t5"):
        raise CheckpointError(
            f"{reader.source}: the output head '{head}' is missing; {stated.family or 'this'} "
            "models have one of their own. The file was saved as a tied model (transformers 5 does "
            "so) or without its head: fetch the original"
        )
    return open_tensors(
        reader,
        format=FORMAT,
        table=table,
        stated=dataclasses.replace(stated, fields=fields),
        notes=tuple(notes),
        companions={n: str(path / n) for n in TOKENIZER_FILES if (path / n).exists()},
    )


def _read_json(path: epath.Path) -> Mapping:
    """Returns a JSON object of a checkpoint."""
    try:
        content = path.read_bytes()
        if len(content) > _MAX_JSON_BYTES:
            raise ValueError(f"{len(content)} bytes")
        value = json.loads(content.decode("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: does not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged JSON ({str(error)[:200]})") from error
    return value


def _read_shards(path: epath.Path, weights: _Weights):
    """Returns the tensors of all shards; the index and the shards must agree exactly."""
    index_path = path / weights.index
    weight_map = _read_json(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index_path}: has no weight_map")
    names = {checked_file_name(file, where=str(index_path)) for file in weight_map.values()}
    files = {name: path / name for name in sorted(names)}
    absent = [name for name, file in files.items() if not file.exists()]
    if absent:
        raise CheckpointError(
            f"{path}: {len(absent)} of {len(files)} shards are missing: {', '.join(absent)}"
        )
    tensors: dict[str, StoredTensor] = {}
    faults = []
    for file_name, file in files.items():
        for name, tensor in weights.parse(file).items():
            if name in tensors:
                faults.append(f"  {name}: in {tensors[name].file} and in {file_name}")
            tensors[name] = tensor
    stated = {str(name).replace("/", "."): file for name, file in weight_map.items()}
    for name, file_name in stated.items():
        if name not in tensors:
            faults.append(f"  {name}: not in {file_name}, where the index puts it")
    faults += [f"  {name}: in {t.file}, not in the index" for name, t in tensors.items()
               if name not in stated]  # fmt: skip
    if faults:
        raise CheckpointError(f"{index_path} and the shards disagree:\n" + "\n".join(faults[:40]))
    return tensors, files


def read_config(path: epath.Path) -> StatedConfig:
    """Returns what a `config.json` says of the model.

    Raises:
      CheckpointError: missing, damaged, of another family, or with settings that nmt5's network
        does not have (exact GELU, another norm epsilon).
    """
    raw = _read_json(path)
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(f"{path}: " + unknown_name("model type", str(family), FAMILIES))
    fields = {ours: raw[theirs] for theirs, ours in _CONFIG_FIELDS.items() if theirs in raw}
    wrong = [
        f"{name} {value!r}"
        for name, value in fields.items()
        if isinstance(value, bool) or not isinstance(value, (int, float))
    ]
    if wrong:
        raise CheckpointError(f"{path}: not numbers: {', '.join(wrong)[:300]}")
    if raw.get("num_decoder_layers") is None and "num_layers" in raw:
        fields["num_decoder_layers"] = raw["num_layers"]
    default = "relu" if family == "t5" else "gated-gelu"
    projection = raw.get("feed_forward_proj", default)
    activations = _ACTIVATIONS.get(projection) if isinstance(projection, str) else None
    if activations is None:
        raise CheckpointError(
            f"{path}: " + unknown_name("feed_forward_proj", str(projection)[:100], _ACTIVATIONS)
        )
    epsilon = raw.get("layer_norm_epsilon", 1e-6)
    if epsilon != 1e-6:
        raise CheckpointError(f"{path}: layer_norm_epsilon {epsilon!r}, the T5 family has 1e-06")
    fields["mlp_activations"] = activations
    fields["logits_via_embedding"] = bool(raw.get("tie_word_embeddings", family == "t5"))
    return StatedConfig(fields=fields, where=str(path), family=family, extra=dict(raw))
