"""Writing a Hugging Face directory: safetensors shards, `config.json`, the tokenizer's files.

Files are written directly, never through `save_pretrained`: transformers 5 writes a wrong
`tie_word_embeddings`, with which version 4 drops the head.
"""

from collections.abc import Mapping
import json
import os
from typing import Any

from etils import epath
import numpy as np

from nmt5.checkpoints.safetensors_file import safetensors_layout
from nmt5.checkpoints.tensors import SLAB_BYTES, TensorSpec
from nmt5.core.errors import CheckpointError
from nmt5.core.files import storage_faults, write_bytes, write_json
from nmt5.model.config import RELATIVE_BIAS_PER_LAYER, ModelConfig

ARCHITECTURES = {
    "mt5": "MT5ForConditionalGeneration",
    "umt5": "UMT5ForConditionalGeneration",
    "t5": "T5ForConditionalGeneration",
}
_PROJECTIONS = {
    ("gelu", "linear"): "gated-gelu",
    ("silu", "linear"): "gated-silu",
    ("relu", "linear"): "gated-relu",
    ("relu",): "relu",
    ("silu",): "silu",
    ("gelu",): "gelu_new",
}
_BYTE_VOCABULARY_ROWS = 384
# Written by the library that saved the original; wrong or meaningless in a new file.
_NOT_KEPT = (
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures",
    "dense_act_fn", "is_gated_act",
)  # fmt: skip
_WEIGHTS = "model"
_PARTIAL = ".partial"


def default_family(config: ModelConfig) -> str:
    """Returns the transformers model type that computes what a configuration describes.

    >>> from nmt5.model.config import model_config
    >>> [default_family(model_config(n)) for n in ("mt5_small", "umt5_small", "t5_small")]
    ['mt5', 'umt5', 't5']
    """
    if config.relative_bias == RELATIVE_BIAS_PER_LAYER:
        return "umt5"
    english = config.vocab_size in (32_128, _BYTE_VOCABULARY_ROWS)
    if config.logits_via_embedding or english or config.mlp_activations != ("gelu", "linear"):
        return "t5"
    return "mt5"


def huggingface_config(
    config: ModelConfig, *, family: str, dtype: str, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the content of `config.json`.

    Args:
      config: the model.
      family: a key of `ARCHITECTURES`.
      dtype: "float32" or "bfloat16".
      extra: fields of an original `config.json` to keep where they say nothing about the model.

    Raises:
      CheckpointError: the family cannot express the model.
    """
    per_layer = config.relative_bias == RELATIVE_BIAS_PER_LAYER
    if family not in ARCHITECTURES or per_layer != (family == "umt5"):
        raise CheckpointError(
            f"Hugging Face model type '{family}' cannot hold this model: relative_bias is "
            f"'{config.relative_bias}'; 'umt5' has one table per layer, 'mt5' and 't5' a shared one"
        )
    if config.logits_via_embedding and family != "t5":
        raise CheckpointError(
            f"Hugging Face model type '{family}' has a head of its own, this model's is tied to "
            "the embedding; use family 't5'"
        )
    if config.mlp_activations not in _PROJECTIONS:
        raise CheckpointError(
            f"transformers has no T5 model with mlp_activations {config.mlp_activations}"
        )
    byte_level = config.vocab_size == _BYTE_VOCABULARY_ROWS
    defaults = {
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "use_cache": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "tokenizer_class": "ByT5Tokenizer" if byte_level else "T5Tokenizer",
        "dropout_rate": config.dropout_rate,
    }
    return (
        defaults
        | {name: value for name, value in extra.items() if name not in _NOT_KEPT}
        | {
            "architectures": [ARCHITECTURES[family]],
            "model_type": family,
            "vocab_size": config.vocab_size,
            "d_model": config.emb_dim,
            "d_kv": config.head_dim,
            "d_ff": config.mlp_dim,
            "num_layers": config.num_encoder_layers,
            "num_decoder_layers": config.num_decoder_layers,
            "num_heads": config.num_heads,
            "relative_attention_num_buckets": config.relative_buckets,
            "relative_attention_max_distance": config.relative_max_distance,
            "feed_forward_proj": _PROJECTIONS[config.mlp_activations],
            "layer_norm_epsilon": 1e-6,
            "tie_word_embeddings": config.logits_via_embedding,
            # transformers 4.5x reads torch_dtype, 5.x reads dtype.
            "torch_dtype": dtype,
            "dtype": dtype,
        }
    )


class SafetensorsWriter:
    """Writes tensors into safetensors files of bounded size, in any order.

    All shapes are known beforehand, so every tensor's place is; each is written once, a slab at a
    time. Files have the suffix `.partial` until `finish`.
    """

    def __init__(
        self, path: os.PathLike | str, specs: Mapping[str, TensorSpec], *, shard_bytes: int
    ):
        """Lays out the files.

        Args:
          path: an existing directory.
          specs: every tensor that will be written.
          shard_bytes: largest file, unless one tensor alone is larger.
        """
        self._path = epath.Path(path)
        shards: list[dict[str, TensorSpec]] = [{}]
        for name, spec in specs.items():
            held = sum(s.num_bytes for s in shards[-1].values())
            if shards[-1] and held + spec.num_bytes > shard_bytes:
                shards.append({})
            shards[-1][name] = spec
        count = len(shards)
        self._files: dict[str, tuple[str, int]] = {}
        self._specs = dict(specs)
        self._written: set[str] = set()
        self._names = []
        for number, shard in enumerate(shards, start=1):
            file = f"{_WEIGHTS}.safetensors"
            if count > 1:
                file = f"{_WEIGHTS}-{number:05d}-of-{count:05d}.safetensors"
            self._names.append(file)
            head, offsets = safetensors_layout(shard, metadata={"format": "pt"})
            with storage_faults("writing", self._path / file):
                (self._path / (file + _PARTIAL)).write_bytes(head)
            self._files.update({name: (file, offset) for name, offset in offsets.items()})

    def write(self, name: str, values: np.ndarray) -> None:
        """Writes one tensor; raises `CheckpointError` if it is not as announced."""
        spec = self._specs[name]
        if values.shape != spec.shape or values.dtype != spec.dtype or name in self._written:
            raise CheckpointError(
                f"'{name}': announced {spec}, given {values.dtype.name}{list(values.shape)}"
            )
        file, offset = self._files[name]
        path = self._path / (file + _PARTIAL)
        with storage_faults("writing", path), open(path, "r+b", buffering=0) as stream:
            stream.seek(offset)
            rows = values if values.ndim else values[None]
            row_bytes = max(1, values.nbytes // max(1, rows.shape[0]))
            step = max(1, SLAB_BYTES // row_bytes)
            for start in range(0, rows.shape[0], step):
                slab = contiguous(rows[start : start + step])
                view = memoryview(slab.reshape(-1).view(np.uint8))
                while view:
                    view = view[stream.write(view) :]
        self._written.add(name)

    def finish(self) -> None:
        """Gives the files their names and writes the index where there are several.

        Raises:
          CheckpointError: a tensor was never written.
        """
        absent = sorted(set(self._specs) - self._written)
        if absent:
            raise CheckpointError(f"{self._path}: never written: {', '.join(absent[:20])}")
        for file in self._names:
            (self._path / (file + _PARTIAL)).replace(self._path / file)
        if len(self._names) > 1:
            total = sum(spec.num_bytes for spec in self._specs.values())
            index = {
                "metadata": {"total_size": total},
                "weight_map": {name: file for name, (file, _) in self._files.items()},
            }
            write_json(self._path / f"{_WEIGHTS}.safetensors.index.json", index)


_TILE = 256


def contiguous(values: np.ndarray) -> np.ndarray:
    """Returns a C-ordered copy of an array, or itself; a transposed matrix is copied in tiles.

    Copying a transposed matrix row by row misses the cache at every element: 0.8 GB/s against 2.5
    in square tiles of 256, measured on an idle core with (62528, 768) float32.
    """
    if values.flags.c_contiguous or values.ndim != 2:
        return np.ascontiguousarray(values)
    copied = np.empty(values.shape, values.dtype)
    for i in range(0, values.shape[0], _TILE):
        for j in range(0, values.shape[1], _TILE):
            copied[i : i + _TILE, j : j + _TILE] = values[i : i + _TILE, j : j + _TILE]
    return copied


def tokenizer_files(vocabulary_model: bytes, *, num_sentinels: int) -> dict[str, bytes]:
    """Returns the files that make transformers use a SentencePiece vocabulary.

    The sentinels are pieces of the model file already, hence `extra_ids` 0.

    Args:
      vocabulary_model: the SentencePiece model.
      num_sentinels: how many the model holds, named in a comment field only.
    """
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": 0,
        "additional_special_tokens": [],
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "num_sentinels": num_sentinels,
    }
    special = {name: settings[name] for name in ("eos_token", "pad_token", "unk_token")}
    return {
        "spiece.model": vocabulary_model,
        "tokenizer_config.json": json.dumps(settings, indent=1).encode(),
        "special_tokens_map.json": json.dumps(special, indent=1).encode(),
    }


def write_companions(path: epath.Path, files: Mapping[str, bytes]) -> None:
    """Writes small files beside the weights."""
    for name, content in files.items():
        write_bytes(path / name, content)
