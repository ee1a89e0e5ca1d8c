"""Writes huggingface_<family>.npz beside itself: what transformers computes for tiny models.

Run in an environment of its own; nothing here is needed to run the tests:

    python -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.13.0 'transformers==4.57.*'
    /tmp/golden/bin/python tests/golden/make_huggingface_golden.py

transformers 5 multiplies umT5's decoder output by D^-0.5 although its head is separate, so 4.57 it
is. Parameters and gradients are stored under T5X's names and in T5X's orientation, by the table
below, which is written here a second time on purpose: it does not share nmt5's.
"""

import json
import pathlib

import numpy as np
import torch
import transformers

LAYERS = {"num_encoder_layers": 2, "num_decoder_layers": 2}
GATED = {"mlp_activations": ["gelu", "linear"]}
PER_LAYER = {"relative_bias": "per_layer"}
TIED = {"logits_via_embedding": True}
FAMILIES = {
    "mt5": ("MT5", LAYERS | GATED),
    "t5_1_0": ("T5", LAYERS | TIED | {"mlp_activations": ["relu"]}),
    "t5_1_1": ("T5", LAYERS | GATED | {"num_heads": 4}),
    "byt5": ("T5", {"num_encoder_layers": 3, "num_decoder_layers": 1} | GATED),
    "umt5": ("UMT5", LAYERS | GATED | PER_LAYER),
}
SHAPE = {"vocab_size": 56, "emb_dim": 16, "num_heads": 3, "head_dim": 4, "mlp_dim": 24}
INPUTS, TARGETS = 140, 36  # 140 reaches beyond the largest relative distance, 128


def build(class_prefix, config):
    """Returns a transformers model with random, well-spread parameters."""
    config_class = getattr(transformers, class_prefix + "Config")
    model_class = getattr(transformers, class_prefix + "ForConditionalGeneration")
    model = model_class(
        config_class(
            vocab_size=config["vocab_size"],
            d_model=config["emb_dim"],
            d_kv=config["head_dim"],
            d_ff=config["mlp_dim"],
            num_heads=config["num_heads"],
            num_layers=config["num_encoder_layers"],
            num_decoder_layers=config["num_decoder_layers"],
            feed_forward_proj="relu" if config["mlp_activations"] == ["relu"] else "gated-gelu",
            tie_word_embeddings=config.get("logits_via_embedding", False),
            dropout_rate=0.0,
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "layer_norm" in name:
                parameter.copy_(1.0 + 0.3 * noise)
            elif "shared" in name or "relative_attention_bias" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
            if ".q." in name:
                parameter.mul_(config["head_dim"] ** -0.5)
    return model.eval()


def t5x_name(name):
    """Returns the path in T5X's tree and whether the tensor is transposed there."""
    if name == "shared.weight":
        return "token_embedder/embedding", False
    if name == "lm_head.weight":
        return "decoder/logits_dense/kernel", True
    parts = name.split(".")
    stack = parts[0]
    if parts[1] == "final_layer_norm":
        return f"{stack}/{stack}_norm/scale", False
    layer, sublayer, part = f"{stack}/layers_{parts[2]}", int(parts[4]), parts[5]
    blocks = ["attention", "mlp"]
    if stack == "decoder":
        blocks = ["self_attention", "encoder_decoder_attention", "mlp"]
    norms = [b.replace("encoder_decoder", "cross") for b in blocks]
    if part == "layer_norm":
        return f"{layer}/pre_{norms[sublayer]}_layer_norm/scale", False
    if "relative_attention_bias" in name:
        return f"{layer}/relpos_bias/rel_embedding", True
    kernel = {"q": "query", "k": "key", "v": "value", "o": "out"}.get(parts[6], parts[6])
    return f"{layer}/{blocks[sublayer]}/{kernel}/kernel", True


def to_t5x(named_tensors, *, per_layer):
    """Returns `{T5X path: array}`; without a table per layer, layer 0's is the stack's."""
    arrays = {}
    for name, tensor in named_tensors:
        path, transposed = t5x_name(name)
        if not per_layer:
            path = path.replace("/layers_0/relpos_bias", "/relpos_bias")
        array = tensor.detach().numpy()
        arrays[path] = np.ascontiguousarray(array.T if transposed else array)
    return arrays


def make(family):
    """Computes one family's file."""
    class_prefix, settings = FAMILIES[family]
    config = SHAPE | settings
    model = build(class_prefix, config)
    rng = np.random.default_rng(0)
    inputs = rng.integers(3, config["vocab_size"], (2, INPUTS))
    targets = rng.integers(3, config["vocab_size"], (2, TARGETS))
    inputs[1, -50:] = 0
    targets[1, -10:] = 0
    shifted = np.concatenate([np.zeros((2, 1), np.int64), targets[:, :-1]], axis=1)
    real = targets > 0
    outputs = model(
        input_ids=torch.tensor(inputs),
        attention_mask=torch.tensor(inputs > 0).long(),
        decoder_input_ids=torch.tensor(shifted),
    )
    log_p = torch.log_softmax(outputs.logits.double(), dim=-1).float()
    loss = -log_p.gather(-1, torch.tensor(targets)[..., None])[..., 0][torch.tensor(real)].sum()
    loss.backward()
    per_layer = "relative_bias" in settings
    named = list(model.named_parameters())
    params = to_t5x(named, per_layer=per_layer)
    grads = to_t5x([(name, p.grad) for name, p in named], per_layer=per_layer)
    path = pathlib.Path(__file__).with_name(f"huggingface_{family}.npz")
    np.savez_compressed(
        path,
        config=json.dumps(config),
        made_with=f"torch {torch.__version__}, transformers {transformers.__version__}",
        inputs=inputs.astype(np.int32),
        decoder_inputs=shifted.astype(np.int32),
        targets=targets.astype(np.int32),
        encoded=outputs.encoder_last_hidden_state.detach().numpy(),
        logits=outputs.logits.detach().numpy(),
        loss=loss.detach().numpy(),
        **{f"params/{name}": array for name, array in params.items()},
        **{f"grads/{name}": array for name, array in grads.items()},
    )
    print(path.name, path.stat().st_size, "bytes", float(outputs.logits.detach().abs().mean()))


if __name__ == "__main__":
    for each in FAMILIES:
        make(each)
