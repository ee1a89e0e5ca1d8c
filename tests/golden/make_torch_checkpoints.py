"""Writes torch_<family>/ beside itself: what `torch.save` makes of tiny transformers models.

Run in an environment of its own; nothing here is needed to run the tests:

    python -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.13.0 'transformers==4.57.*'
    /tmp/golden/bin/python tests/golden/make_torch_checkpoints.py

mt5 is a zip archive with some matrices stored transposed, as the public mT5 files converted from
TensorFlow have them; t5 is the stream format before PyTorch 1.6 with all four names of the tied
embedding; umt5 is a plain zip archive. expected.npz has the tensors as transformers names them.
"""

import json
import pathlib

import numpy as np
import torch
import transformers

SHAPE = {
    "vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 3, "num_layers": 2,
    "num_decoder_layers": 1,
}  # fmt: skip
FAMILIES = {
    "mt5": ("MT5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5": ("T5", {"feed_forward_proj": "relu"}),
    "umt5": ("UMT5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
}


def transposed_in_memory(tensor):
    """Returns an equal tensor whose storage holds the transposed matrix."""
    return tensor.T.contiguous().T if tensor.ndim == 2 else tensor


def make(family):
    """Writes one family's directory."""
    prefix, settings = FAMILIES[family]
    config = getattr(transformers, f"{prefix}Config")(**SHAPE, **settings)
    model = getattr(transformers, f"{prefix}ForConditionalGeneration")(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    state = model.state_dict()
    if family == "mt5":
        state = {name: transposed_in_memory(t) if ".o." in name else t for name, t in state.items()}
    directory = pathlib.Path(__file__).with_name(f"torch_{family}")
    directory.mkdir(exist_ok=True)
    new_format = family != "t5"
    torch.save(state, directory / "pytorch_model.bin", _use_new_zipfile_serialization=new_format)
    (directory / "config.json").write_text(json.dumps(config.to_diff_dict(), indent=1) + "\n")
    arrays = {name: tensor.contiguous().numpy() for name, tensor in state.items()}
    np.savez_compressed(directory / "expected.npz", **arrays)


if __name__ == "__main__":
    for family in FAMILIES:
        make(family)
