"""Writes t5x_<family>.npz beside itself: what T5X's own network computes for tiny models.

    PYTHONPATH=<google-research/t5x at cc342d4> python tests/golden/make_t5x_golden.py

Runs in the tests' environment: of T5X only `examples/*/network.py` and `layers.py` are loaded, as
`t5x/__init__.py` imports all of T5X. umT5 is T5X's scalable network with unscanned layers; its
attention kernels keep heads apart, and are joined for storing.
"""

import importlib.util
import json
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

LAYERS = {"num_encoder_layers": 2, "num_decoder_layers": 2}
GATED = {"mlp_activations": ["gelu", "linear"]}
FAMILIES = {
    "mt5": LAYERS | GATED,
    "t5_1_0": LAYERS | {"mlp_activations": ["relu"], "logits_via_embedding": True},
    "t5_1_1": LAYERS | GATED | {"num_heads": 4},
    "byt5": {"num_encoder_layers": 3, "num_decoder_layers": 1} | GATED,
    "umt5": LAYERS | GATED | {"relative_bias": "per_layer"},
}
SHAPE = {"vocab_size": 56, "emb_dim": 16, "num_heads": 3, "head_dim": 4, "mlp_dim": 24}
INPUTS, TARGETS = 140, 36  # 140 reaches beyond the largest relative distance, 128


def network(name):
    """Returns T5X's module `t5x.examples.<name>.network` without importing `t5x`."""
    (root,) = (p for p in map(pathlib.Path, sys.path) if (p / "t5x" / "examples").is_dir())
    for package in ("t5x", "t5x.examples", f"t5x.examples.{name}"):
        sys.modules.setdefault(package, types.ModuleType(package)).__path__ = []
    for part in ("layers", "network"):
        full = f"t5x.examples.{name}.{part}"
        path = root / "t5x" / "examples" / name / f"{part}.py"
        spec = importlib.util.spec_from_file_location(full, path)
        module = sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(sys.modules[f"t5x.examples.{name}"], part, module)
    return module


def spread(path, shape, rng):
    """Returns well-spread values, so that no part of the network is near a constant."""
    noise = rng.standard_normal(shape, np.float32)
    if path.endswith("scale"):
        return 1 + np.float32(0.3) * noise
    if path.endswith("embedding"):
        return noise
    fan_in = np.prod(shape[:-1] if "out/" in path else shape[:1])
    noise *= np.float32(fan_in**-0.5)
    return noise * np.float32(SHAPE["head_dim"] ** -0.5) if "query" in path else noise


def flat(tree):
    """Returns `{path: array}`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def joined(path, array):
    """Joins heads: (D, H, K) to (D, J), and (H, K, D) to (J, D)."""
    if array.ndim != 3:
        return array
    if "/out/" in path:
        return array.reshape(-1, array.shape[-1])
    return array.reshape(array.shape[0], -1)


def make(family):
    """Computes one family's file."""
    config = SHAPE | FAMILIES[family]
    fields = {k: v for k, v in config.items() if k != "relative_bias"}
    scalable = "relative_bias" in config
    t5x = network("scalable_t5" if scalable else "t5")
    settings = {"scan_layers": False} if scalable else {"float32_attention_logits": True}
    model = t5x.Transformer(t5x.T5Config(dtype=jnp.float32, dropout_rate=0.0, **settings, **fields))
    rng = np.random.default_rng(1)
    inputs = rng.integers(3, config["vocab_size"], (2, INPUTS)).astype(np.int32)
    targets = rng.integers(3, config["vocab_size"], (2, TARGETS)).astype(np.int32)
    # Row 0 is packed with two examples, row 1 is one example and padding.
    inputs[1, -50:], targets[1, -10:] = 0, 0
    input_segments, target_segments = (inputs > 0).astype(np.int32), (targets > 0).astype(np.int32)
    input_segments[0, 90:], target_segments[0, 20:] = 2, 2
    decoder_inputs = np.concatenate([np.zeros((2, 1), np.int32), targets[:, :-1]], axis=1)
    decoder_inputs[0, 20] = 0
    segments = {
        "encoder_segment_ids": input_segments,
        "decoder_segment_ids": target_segments,
    }
    tokens = (inputs, decoder_inputs, targets)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *tokens, enable_dropout=False))
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: spread("/".join(key.key for key in path), leaf.shape, rng),
        shapes["params"],
    )

    def loss_and_logits(params):
        logits_BTV = model.apply({"params": params}, *tokens, enable_dropout=False, **segments)
        log_p_BTV = jax.nn.log_softmax(logits_BTV)
        chosen_BT = jnp.take_along_axis(log_p_BTV, targets[..., None], axis=-1)[..., 0]
        return -jnp.sum(chosen_BT * (targets > 0)), logits_BTV

    with jax.default_matmul_precision("highest"):
        (loss, logits), grads = jax.jit(jax.value_and_grad(loss_and_logits, has_aux=True))(params)
    path = pathlib.Path(__file__).with_name(f"t5x_{family}.npz")
    np.savez_compressed(
        path,
        config=json.dumps(config),
        made_with=f"t5x cc342d4, jax {jax.__version__}",
        inputs=inputs,
        decoder_inputs=decoder_inputs,
        targets=targets,
        encoder_segment_ids=input_segments,
        decoder_segment_ids=target_segments,
        logits=np.asarray(logits),
        loss=np.asarray(loss),
        **{f"params/{name}": joined(name, array) for name, array in flat(params).items()},
        **{f"grads/{name}": joined(name, array) for name, array in flat(grads).items()},
    )
    print(path.name, path.stat().st_size, "bytes", float(np.abs(logits).mean()))


if __name__ == "__main__":
    for each in FAMILIES:
        make(each)
