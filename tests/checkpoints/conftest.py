"""Tiny checkpoints of every format, written by other libraries or by hand, never by nmt5."""

import json
import pathlib
import types

from flax import serialization
import numpy as np
import pytest

from nmt5.checkpoints.param_paths import parameter_shapes
from nmt5.core.pytrees import unflatten_paths
from nmt5.model.config import ModelConfig

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
SHARED = ModelConfig(
    vocab_size=40, emb_dim=8, num_heads=3, head_dim=4, mlp_dim=12, num_encoder_layers=2,
    num_decoder_layers=1,
)  # fmt: skip


def random_params(config, seed=0):
    rng = np.random.default_rng(seed)
    return {
        path: rng.standard_normal(shape, np.float32)
        for path, shape in parameter_shapes(config).items()
    }


def huggingface_tensors(params):
    """Returns {name: array} by rules written down here a second time."""
    tensors = {}
    for path, value in params.items():
        stack, *rest = path.split("/")
        if stack == "token_embedder":
            tensors["shared.weight"] = value
        elif rest[0] == "logits_dense":
            tensors["lm_head.weight"] = value.T
        elif rest[0].endswith("_norm"):
            tensors[f"{stack}.final_layer_norm.weight"] = value
        elif "relpos_bias" in rest:
            i = rest[0].removeprefix("layers_") if rest[0] != "relpos_bias" else "0"
            name = "layer.0.SelfAttention.relative_attention_bias.weight"
            tensors[f"{stack}.block.{i}.{name}"] = value.T
        else:
            block = f"{stack}.block.{rest[0].removeprefix('layers_')}.layer"
            last = 1 if stack == "encoder" else 2
            if rest[1] == "mlp":
                tensors[f"{block}.{last}.DenseReluDense.{rest[2]}.weight"] = value.T
            elif rest[1].endswith("norm"):
                j = {"pre_mlp_layer_norm": last, "pre_cross_attention_layer_norm": 1}
                tensors[f"{block}.{j.get(rest[1], 0)}.layer_norm.weight"] = value
            else:
                cross = rest[1] == "encoder_decoder_attention"
                module = "1.EncDecAttention" if cross else "0.SelfAttention"
                tensors[f"{block}.{module}.{rest[2][0]}.weight"] = value.T
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def write_json(path, value):
    path.write_text(json.dumps(value))


def huggingface_config(config, family="mt5", **changes):
    return {
        "model_type": family, "vocab_size": config.vocab_size, "d_model": config.emb_dim,
        "d_kv": config.head_dim, "d_ff": config.mlp_dim, "num_heads": config.num_heads,
        "num_layers": config.num_encoder_layers, "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
    } | changes  # fmt: skip


def write_huggingface(path, config, params, **changes):
    """Writes config.json and model.safetensors with the safetensors library."""
    from safetensors.numpy import save_file

    path.mkdir(parents=True, exist_ok=True)
    save_file(huggingface_tensors(params), path / "model.safetensors", metadata={"format": "pt"})
    write_json(path / "config.json", huggingface_config(config, **changes))
    return path


def flax_tree(params):
    """Returns the nested dictionary of flax_model.msgpack."""
    flat = {}
    for name, value in huggingface_tensors(params).items():
        stem = name.removesuffix(".weight")
        if "relative_attention_bias" in name or name == "shared.weight":
            flat[stem.replace(".", "/") + "/embedding"] = value
        elif "norm" in name:
            flat[stem.replace(".", "/") + "/weight"] = value
        else:
            flat[stem.replace(".", "/") + "/kernel"] = np.ascontiguousarray(value.T)
    return unflatten_paths(flat)


def adafactor_slots(params, seed=7):
    """Returns T5X's slots: factored kernels, full v elsewhere, by `<path>/<slot>`."""
    rng = np.random.default_rng(seed)
    slots = {}
    for path, value in params.items():
        one = np.zeros(1, np.float32)
        held = {"m": one, "v": one, "v_row": one, "v_col": one}
        if path.endswith("kernel"):
            largest, second = np.argsort(value.shape, kind="stable")[::-1]
            held["v_row"] = rng.random(value.shape[second], np.float32)
            held["v_col"] = rng.random(value.shape[largest], np.float32)
        else:
            held["v"] = rng.random(value.shape, np.float32)
        slots.update({f"{path}/{slot}": array for slot, array in held.items()})
    return slots


def t5x_state(params, *, step=1000, slots=None):
    flat = {f"target/{path}": value for path, value in params.items()}
    flat["state/step"] = np.int32(step)
    flat |= {f"state/param_states/{path}": value for path, value in (slots or {}).items()}
    return flat


def write_legacy(path, flat, *, version=3, driver="gfile", old_path=False, inline=False, **other):
    """Writes a legacy T5X checkpoint with flax and TensorStore."""
    import tensorstore as ts

    path.mkdir(parents=True, exist_ok=True)
    leaves = {}
    for name, value in flat.items():
        value = np.asarray(value)
        if inline or value.size == 1:
            leaves[name] = value
            continue
        directory = name.replace("/", ".")
        metadata = {
            "shape": list(value.shape), "chunks": list(value.shape),
            "compressor": {"id": "gzip", "level": 1},
        }  # fmt: skip
        spec = {
            "driver": "zarr", "dtype": value.dtype.name, "metadata": metadata,
            "kvstore": {"driver": "file", "path": str(path / directory)},
        }  # fmt: skip
        ts.open(spec, create=True).result().write(value).result()
        stored = {"driver": "zarr", "dtype": value.dtype.name, "metadata": metadata}
        stored["kvstore"] = {"driver": driver, "bucket": "t5x-dummy-bucket"}
        (stored if old_path else stored["kvstore"])["path"] = directory + "/"
        leaves[name] = stored
    tree = {"version": version, "optimizer": unflatten_paths(leaves)} | other
    (path / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    return path


def scanned(params, config):
    """Returns T5X's scanned tree: axis 1 is the layer, heads apart."""
    h = config.num_heads
    result, layers = {}, {}
    for path, value in params.items():
        parts = path.split("/")
        if not parts[1].startswith("layers_"):
            result[path] = value
            continue
        if "attention" in parts[2] and parts[3] == "out":
            value = value.reshape(h, -1, value.shape[1])
        elif "attention" in parts[2] and parts[-1] == "kernel":
            value = value.reshape(value.shape[0], h, -1)
        name = "/".join([parts[0], parts[0], *parts[2:]])
        layers.setdefault(name, {})[int(parts[1].removeprefix("layers_"))] = value
    for name, values in layers.items():
        result[name] = np.stack([values[i] for i in range(len(values))], axis=1)
    return result


def mesh_name(path):
    """Returns Mesh TensorFlow's variable name, by rules written down here a second time."""
    stack, *rest = path.split("/")
    if stack == "token_embedder":
        return "shared/embedding"
    if rest[0] == "logits_dense":
        return "decoder/logits/kernel"
    if rest[0] == "relpos_bias":
        return f"{stack}/block_000/layer_000/SelfAttention/relative_attention_bias"
    if rest[0].endswith("_norm"):
        return f"{stack}/rms_norm/scale"
    block = f"{stack}/block_{int(rest[0].removeprefix('layers_')):03d}"
    last = 1 if stack == "encoder" else 2
    if rest[1] == "mlp":
        return f"{block}/layer_{last:03d}/DenseReluDense/{rest[2]}/kernel"
    if rest[1].endswith("norm"):
        j = {"pre_mlp_layer_norm": last, "pre_cross_attention_layer_norm": 1}.get(rest[1], 0)
        return f"{block}/layer_{j:03d}/layer_norm/scale"
    j, module = (1, "EncDecAttention") if "encoder_decoder" in rest[1] else (0, "SelfAttention")
    return f"{block}/layer_{j:03d}/{module}/{rest[2][0]}"


@pytest.fixture(scope="session")
def samples():
    """Everything above, as attributes."""
    return types.SimpleNamespace(**globals())
