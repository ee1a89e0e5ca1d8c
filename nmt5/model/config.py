"""What a T5-family model is made of, and the published sizes by name.

Field names are T5X's, so that a T5X gin file reads over.

Source:
  https://github.com/google-research/t5x/tree/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x/examples/t5
  (mt5, t5_1_0, t5_1_1 and byt5 gin files; umT5 is examples/scalable_t5/umt5 with mT5's shapes).
  https://huggingface.co/zaanind/aya-101/commit/55d2f26964b13548bf1a2d4fd25446ba7266a83c
  (a quantised copy of Aya-101, whose shapes are mT5-XXL's)
  https://huggingface.co/google/madlad400-3b-mt/blob/62211dcf86f51e68595794839416d3fc82a32586/config.json
  https://huggingface.co/google/madlad400-7b-mt-bt/blob/1259294/config.json
  https://huggingface.co/google/madlad400-10b-mt/blob/9f2797629c31e69617186dbe5f0ca43bf662f36d/config.json
"""

from collections.abc import Mapping
import dataclasses
import types
from typing import Any

from nmt5.core.errors import ConfigError, unknown_name

ACTIVATIONS = ("gelu", "relu", "silu", "linear")
RELATIVE_BIAS_SHARED = "shared"
RELATIVE_BIAS_PER_LAYER = "per_layer"
REMAT_NONE, REMAT_MINIMAL, REMAT_FULL = "none", "minimal", "full"
_CHOICES = {
    "dtype": ("float32", "bfloat16"),
    "relative_bias": (RELATIVE_BIAS_SHARED, RELATIVE_BIAS_PER_LAYER),
    "attention_backend": ("auto", "xla", "cudnn", "pallas"),
    "remat": (REMAT_NONE, REMAT_MINIMAL, REMAT_FULL),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Shapes and arithmetic of one encoder-decoder model.

    Attributes:
      vocab_size: rows of the embedding, padding rows included.
      emb_dim: model width D.
      num_heads: attention heads H.
      head_dim: size per head K; H x K need not equal D.
      mlp_dim: feed-forward width F.
      num_encoder_layers: layers of the encoder.
      num_decoder_layers: layers of the decoder.
      mlp_activations: one name for T5 1.0's plain block, ("gelu", "linear") for the gated one.
      dropout_rate: rate in [0, 1); 0 in mT5's pre-training, 0.1 in fine-tuning.
      logits_via_embedding: True ties the head to the embedding and scales logits by D^-0.5.
      relative_bias: "shared" has one table per stack (mT5), "per_layer" one per layer (umT5).
      relative_buckets: relative-position buckets R.
      relative_max_distance: distance from which all positions share the last bucket.
      dtype: dtype of activations; parameters are always float32.
      attention_backend: "auto", or the one implementation to use (see `nmt5.model.attention`).
      scan_layers: True compiles one layer and loops over the parameters of all; the parameter tree
        stays the same (see `nmt5.model.stack`).
      remat: "none", or what the backward pass computes again to save memory: "full" the whole of
        every layer, "minimal" all but products with parameters.

    Raises:
      ConfigError: a value that no model can have; all faults are listed at once.
    """

    vocab_size: int
    emb_dim: int
    num_heads: int
    head_dim: int
    mlp_dim: int
    num_encoder_layers: int
    num_decoder_layers: int
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    dropout_rate: float = 0.0
    logits_via_embedding: bool = False
    relative_bias: str = RELATIVE_BIAS_SHARED
    relative_buckets: int = 32
    relative_max_distance: int = 128
    dtype: str = "float32"
    attention_backend: str = "auto"
    scan_layers: bool = False
    remat: str = REMAT_NONE

    def __post_init__(self):
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        faults = []
        for name in (
            "vocab_size", "emb_dim", "num_heads", "head_dim", "mlp_dim",
            "num_encoder_layers", "num_decoder_layers", "relative_buckets", "relative_max_distance",
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                faults.append(f"{name} is {value!r}, expected an integer above 0")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if name == "dtype" and value in ("float16", "fp16", "half"):
                faults.append(
                    f"dtype is {value!r}: T5's activations grow past its largest number, 65,504, "
                    "and become infinite; expected 'bfloat16', which has float32's range, or "
                    "'float32'"
                )
            elif value not in choices:
                faults.append(f"{name}: " + unknown_name("choice", str(value), choices))
        if not isinstance(self.scan_layers, bool):
            faults.append(f"scan_layers is {self.scan_layers!r}, expected True or False")
        if not self.mlp_activations:
            faults.append("mlp_activations is empty, expected one name or more")
        for name in self.mlp_activations:
            if name not in ACTIVATIONS:
                faults.append("mlp_activations: " + unknown_name("activation", name, ACTIVATIONS))
        if not 0.0 <= self.dropout_rate < 1.0:
            faults.append(f"dropout_rate is {self.dropout_rate!r}, expected 0 <= rate < 1")
        if not faults and self.relative_buckets % 4:
            faults.append(f"relative_buckets is {self.relative_buckets}, expected a multiple of 4")
        if not faults and self.relative_max_distance <= self.relative_buckets // 2:
            faults.append(
                f"relative_max_distance is {self.relative_max_distance}, expected more than half "
                f"of relative_buckets ({self.relative_buckets})"
            )
        if faults:
            raise ConfigError("ModelConfig: " + "; ".join(faults))

    @property
    def joined_dim(self) -> int:
        """Heads x size per head, the axis J of attention kernels."""
        return self.num_heads * self.head_dim

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-able values, for checkpoint descriptions."""
        return dataclasses.asdict(self) | {"mlp_activations": list(self.mlp_activations)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Returns the config that `to_dict` described.

        Raises:
          ConfigError: a field is missing or unknown, or a value is impossible.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        faults = [unknown_name("ModelConfig field", n, fields) for n in values if n not in fields]
        faults += [
            f"field '{n}' is missing"
            for n, f in fields.items()
            if n not in values and f.default is dataclasses.MISSING
        ]
        if faults:
            raise ConfigError("model description: " + "; ".join(faults))
        return cls(**values)


def _sizes(rows: Mapping[str, tuple[int, ...]], *, prefix: str, **common) -> dict[str, ModelConfig]:
    """Returns configs from rows of (D, F, H, K, encoder layers, decoder layers)."""
    return {
        prefix + name: ModelConfig(
            emb_dim=d,
            mlp_dim=f,
            num_heads=h,
            head_dim=k,
            num_encoder_layers=encoder,
            num_decoder_layers=decoder,
            **common,
        )
        for name, (d, f, h, k, encoder, decoder) in rows.items()
    }


_T5_1_0 = {
    "small": (512, 2048, 8, 64, 6, 6),
    "base": (768, 3072, 12, 64, 12, 12),
    "large": (1024, 4096, 16, 64, 24, 24),
    "3b": (1024, 16384, 32, 128, 24, 24),
    "11b": (1024, 65536, 128, 128, 24, 24),
}
_T5_1_1 = {
    "small": (512, 1024, 6, 64, 8, 8),
    "base": (768, 2048, 12, 64, 12, 12),
    "large": (1024, 2816, 16, 64, 24, 24),
    "xl": (2048, 5120, 32, 64, 24, 24),
    "xxl": (4096, 10240, 64, 64, 24, 24),
}
_BYT5 = {
    "small": (1472, 3584, 6, 64, 12, 4),
    "base": (1536, 3968, 12, 64, 18, 6),
    "large": (1536, 3840, 16, 64, 36, 12),
    "xl": (2560, 6720, 32, 64, 36, 12),
    "xxl": (4672, 12352, 64, 64, 36, 12),
}
_MADLAD400 = {
    "3b": (1024, 8192, 16, 128, 32, 32),
    "7b": (2048, 8192, 16, 128, 48, 48),
    "10b": (2048, 16384, 32, 128, 32, 32),
}
_UMT5 = {name: row for name, row in _T5_1_1.items() if name != "large"}
# No size of anybody's: "tiny" is for tests, "demo" learns something on a laptop in a minute.
_OWN = {"tiny": (32, 64, 4, 8, 2, 2), "demo": (128, 320, 2, 64, 2, 2)}

SIZES: Mapping[str, ModelConfig] = types.MappingProxyType(
    _sizes(_T5_1_1, prefix="mt5_", vocab_size=250_112)
    | _sizes(
        _T5_1_0, prefix="t5_", vocab_size=32_128, mlp_activations=("relu",),
        logits_via_embedding=True,
    )
    | _sizes(_T5_1_1, prefix="t5_1_1_", vocab_size=32_128)
    | _sizes(_T5_1_1, prefix="flan_t5_", vocab_size=32_128)
    | _sizes(_BYT5, prefix="byt5_", vocab_size=384)
    | _sizes(_UMT5, prefix="umt5_", vocab_size=256_384, relative_bias=RELATIVE_BIAS_PER_LAYER)
    # Its vocabulary has other ids for padding (1) and the end of a sequence (2).
    | _sizes(_MADLAD400, prefix="madlad400_", vocab_size=256_000)
    | _sizes({"101": _T5_1_1["xxl"]}, prefix="aya_", vocab_size=250_112)
    | _sizes(_OWN, prefix="", vocab_size=512)
)  # fmt: skip


def model_config(size: str, **overrides: Any) -> ModelConfig:
    """Returns the configuration of a published (or own small) size.

    >>> model_config("mt5_small").joined_dim
    384
    >>> model_config("mt5_small", dropout_rate=0.1).dropout_rate
    0.1

    Args:
      size: a name in `SIZES`.
      **overrides: fields of `ModelConfig` to set otherwise.

    Returns:
      The configuration.

    Raises:
      ConfigError: unknown size or field, or an impossible value.
    """
    if size not in SIZES:
        raise ConfigError(unknown_name("model size", size, SIZES))
    fields = [f.name for f in dataclasses.fields(ModelConfig)]
    faults = [unknown_name("ModelConfig field", n, fields) for n in overrides if n not in fields]
    if faults:
        raise ConfigError(f"model size '{size}': " + "; ".join(faults))
    return dataclasses.replace(SIZES[size], **overrides)
