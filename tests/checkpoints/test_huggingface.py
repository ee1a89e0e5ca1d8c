"""Hugging Face directories in all their forms, and the traps of tied heads."""

import json

from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.huggingface_export import SafetensorsWriter, huggingface_config
from nmt5.checkpoints.public_import import import_public
from nmt5.checkpoints.tensors import TensorSpec
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import model_config


@pytest.fixture
def model(samples, tmp_path):
    """A directory, its parameters and its tensors by Hugging Face name."""
    params = samples.random_params(samples.SHARED)
    path = samples.write_huggingface(tmp_path / "hf", samples.SHARED, params)
    return path, params, samples.huggingface_tensors(params)


def write(path, tensors):
    save_file(tensors, path / "model.safetensors")


def assert_same(path, params):
    found = flatten_paths(import_public(path)[0])
    assert found.keys() == params.keys()
    assert all(np.array_equal(found[name], params[name]) for name in params)


def test_flax_weights_chunked_and_sharded(model, samples, monkeypatch):
    path, params, _ = model
    (path / "model.safetensors").unlink()
    tree = samples.flax_tree(params)
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 400)
    (path / "flax_model.msgpack").write_bytes(serialization.to_bytes(tree))
    assert_same(path, params)
    (path / "flax_model.msgpack").unlink()
    flat = flatten_dict(tree, sep="/")
    weight_map = {}
    for number in (1, 2):
        name = f"flax_model-0000{number}-of-00002.msgpack"
        part = {k: v for i, (k, v) in enumerate(sorted(flat.items())) if i % 2 == number - 1}
        (path / name).write_bytes(serialization.to_bytes(unflatten_dict(part, sep="/")))
        weight_map |= dict.fromkeys(part, name)
    samples.write_json(path / "flax_model.msgpack.index.json", {"weight_map": weight_map})
    assert_same(path, params)


def test_known_duplicates_and_strays_are_named(model):
    path, params, tensors = model
    stray = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    shared = tensors["shared.weight"]
    write(path, tensors | {"encoder.embed_tokens.weight": shared, stray: np.ones((32, 3))})
    assert_same(path, params)
    lines = open_checkpoint(path).check_duplicates()
    assert "encoder.embed_tokens.weight: equals shared.weight, not needed" in lines
    assert any(line.startswith(f"{stray}: not used") for line in lines)
    write(path, tensors | {"encoder.embed_tokens.weight": shared + 1})
    with pytest.raises(CheckpointError, match="should equal 'shared.weight', but differs"):
        import_public(path)


def test_a_flag_that_transformers_5_writes_wrongly_does_not_lose_the_head(model, samples):
    path, params, _ = model
    config = samples.huggingface_config(samples.SHARED, tie_word_embeddings=True)
    samples.write_json(path / "config.json", config)
    assert_same(path, params)
    (note,) = open_checkpoint(path).notes
    assert "says that the head is tied, but lm_head.weight differs" in note


def test_a_tied_head_may_be_repeated(model, samples):
    path, _, tensors = model
    config = samples.huggingface_config(samples.SHARED, "t5", tie_word_embeddings=True)
    samples.write_json(path / "config.json", config)
    write(path, tensors | {"lm_head.weight": tensors["shared.weight"]})
    params, found, _ = import_public(path)
    assert found.logits_via_embedding and "logits_dense" not in params["decoder"]


@pytest.mark.parametrize("family", ["mt5", "t5"])
def test_a_missing_head_is_named(model, samples, family):
    path, _, tensors = model
    samples.write_json(path / "config.json", samples.huggingface_config(samples.SHARED, family))
    write(path, {n: t for n, t in tensors.items() if n != "lm_head.weight"})
    with pytest.raises(CheckpointError, match=r"output head 'lm_head.weight' is missing"):
        import_public(path)


def test_an_encoder_only_file_is_named(model):
    path, _, tensors = model
    kept = {n: t for n, t in tensors.items() if not n.startswith("decoder")}
    write(path, kept)
    with pytest.raises(CheckpointError, match="encoder-only"):
        import_public(path)


def test_vocabulary_of_another_size_is_named_not_repaired(model, samples):
    path, _, tensors = model
    samples.write_json(
        path / "config.json", samples.huggingface_config(samples.SHARED, vocab_size=128)
    )
    with pytest.raises(CheckpointError, match=r"says 128, the tensors say 40 .*padded to 128"):
        import_public(path)
    samples.write_json(path / "config.json", samples.huggingface_config(samples.SHARED))
    write(path, tensors | {"lm_head.weight": tensors["lm_head.weight"][:38].copy()})
    with pytest.raises(CheckpointError, match=r"lm_head.weight: float32\[38, 8\] found"):
        import_public(path)


def test_everything_unmatched_is_listed_with_nearest_names(model):
    path, _, tensors = model
    tensors["encoder.final_layernorm.weight"] = tensors.pop("encoder.final_layer_norm.weight")
    tensors["classifier.weight"] = np.ones((2, 3), np.float32)
    write(path, tensors)
    with pytest.raises(CheckpointError) as caught:
        import_public(path)
    text = str(caught.value)
    assert "parameters without a tensor (1)" in text
    assert "nearest unmatched: encoder.final_layernorm.weight float32[8]" in text
    assert "tensors without a parameter (2)" in text
    assert "classifier.weight: float32[2, 3]" in text


def test_shards_are_what_the_safetensors_library_reads(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"t{i}": rng.standard_normal((i + 1, 5), np.float32) for i in range(9)}
    specs = {name: TensorSpec(t.shape, t.dtype) for name, t in tensors.items()}
    writer = SafetensorsWriter(tmp_path, specs, shard_bytes=200)
    for name in reversed(tensors):
        # A transposed view, as conversions give them.
        writer.write(name, np.ascontiguousarray(tensors[name].T).T)
    writer.finish()
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    found = {}
    for file in set(index["weight_map"].values()):
        part = load_file(tmp_path / file)
        assert sum(t.nbytes for t in part.values()) <= 200
        found |= part
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)


def test_a_tensor_never_written_is_noticed(tmp_path):
    specs = {name: TensorSpec((2,), np.dtype(np.float32)) for name in "ab"}
    writer = SafetensorsWriter(tmp_path, specs, shard_bytes=100)
    writer.write("a", np.ones(2, np.float32))
    with pytest.raises(CheckpointError, match="never written: b"):
        writer.finish()
    with pytest.raises(CheckpointError, match="announced"):
        writer.write("b", np.ones(3, np.float32))


def test_config_has_the_right_tied_flag_per_family():
    expected = {"mt5_small": ("mt5", False), "t5_small": ("t5", True), "byt5_small": ("t5", False),
                "umt5_small": ("umt5", False), "t5_1_1_small": ("t5", False)}  # fmt: skip
    for size, (family, tied) in expected.items():
        content = huggingface_config(model_config(size), family=family, dtype="float32", extra={})
        assert content["tie_word_embeddings"] is tied and content["model_type"] == family
    with pytest.raises(CheckpointError, match="one table per layer"):
        huggingface_config(model_config("umt5_small"), family="mt5", dtype="float32", extra={})
    with pytest.raises(CheckpointError, match="tied to"):
        huggingface_config(model_config("t5_small"), family="mt5", dtype="float32", extra={})
