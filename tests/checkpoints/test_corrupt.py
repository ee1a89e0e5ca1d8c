"""Damaged checkpoints: each kind gives a clear error, no crash, and no large allocation."""

import json
import shutil

from flax import serialization
import numpy as np
import pytest
from safetensors.numpy import save_file

from nmt5.checkpoints.public_import import import_public
from nmt5.core.errors import CheckpointError

GIB = 2**30


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def header(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(path, change, *, tail=None):
    """Rewrites a safetensors header."""
    table, data = header(path)
    result = change(table)
    text = result if isinstance(result, bytes) else json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + (data if tail is None else tail))


def cut(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def first(table):
    return next(name for name in table if name != "__metadata__")


def set_entry(field, value):
    def change(table):
        table[first(table)][field] = value

    return lambda d: with_header(d / "model.safetensors", change)


def swap_offsets(table):
    names = [name for name in table if name != "__metadata__"][:2]
    table[names[0]]["data_offsets"] = table[names[1]]["data_offsets"]


def duplicate_names(d):
    table, data = header(d / "model.safetensors")
    text = json.dumps(table)
    entry = json.dumps({first(table): table[first(table)]})[1:-1]
    text = (text[:-1] + ", " + entry + "}").encode()
    (d / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def resave(change):
    def damage(d):
        from safetensors.numpy import load_file

        tensors = load_file(d / "model.safetensors")
        change(tensors)
        save_file(tensors, d / "model.safetensors")

    return damage


def nan(tensors):
    tensors["shared.weight"][3, 3] = np.nan


def infinite(tensors):
    tensors["lm_head.weight"][0, 0] = np.inf


def shard(d, change=lambda index: None):
    from safetensors.numpy import load_file

    tensors = load_file(d / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2],
             "model-00002-of-00002.safetensors": names[1::2]}  # fmt: skip
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, d / file)
    (d / "model.safetensors").unlink()
    weight_map = {name: file for file, part in parts.items() for name in part}
    index = {"weight_map": weight_map}
    change(index)
    (d / "model.safetensors.index.json").write_text(json.dumps(index))


def lose_shard(d):
    shard(d)
    (d / "model-00002-of-00002.safetensors").unlink()


def truncate_shard(d):
    shard(d)
    cut(d / "model-00001-of-00002.safetensors", 0.7)


def escape(path):
    def change(index):
        name = next(iter(index["weight_map"]))
        index["weight_map"][name] = path

    return lambda d: shard(d, change)


def stranger_in_index(index):
    index["weight_map"]["ghost.weight"] = "model-00001-of-00002.safetensors"


def forgotten_by_index(index):
    del index["weight_map"]["shared.weight"]


HUGGINGFACE = {
    "truncated": (lambda d: cut(d / "model.safetensors", 0.6), "truncated"),
    "truncated in its header": (lambda d: cut(d / "model.safetensors", 0.01), "truncated"),
    "empty file": (lambda d: cut(d / "model.safetensors", 0), "truncated"),
    "trailing bytes": (
        lambda d: (d / "model.safetensors").write_bytes(
            (d / "model.safetensors").read_bytes() + b"123"), "the file has"),
    "absurd header length": (
        lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 7 + b"\x0f" + b"x" * 50),
        "not a safetensors file"),
    "header is no JSON": (
        lambda d: with_header(d / "model.safetensors", lambda t: b"{]"), "damaged header"),
    "header is a list": (
        lambda d: with_header(d / "model.safetensors", lambda t: b"[1, 2]"), "damaged header"),
    "header nested too deeply": (
        lambda d: with_header(d / "model.safetensors", lambda t: b"[" * 200_000), "damaged header"),
    "name twice": (duplicate_names, "occurs twice"),
    "entry without shape": (
        lambda d: with_header(d / "model.safetensors", lambda t: t[first(t)].pop("shape") and None),
        "damaged header entry"),
    "unknown element type": (set_entry("dtype", "F4"), "not supported"),
    "negative shape": (set_entry("shape", [-4, 8]), "is not a shape"),
    "absurd shape": (set_entry("shape", [2**40, 2**40]), "is not a shape"),
    "shape that contradicts size": (set_entry("shape", [3, 5]), "contradict shapes"),
    "large shape that contradicts size": (set_entry("shape", [2**20, 2**20]), "contradict shapes"),
    "offsets backwards": (set_entry("data_offsets", [64, 0]), "data_offsets"),
    "offsets past the end": (set_entry("data_offsets", [0, 2**60]), "overlap|contradict|begins"),
    "overlapping tensors": (
        lambda d: with_header(d / "model.safetensors", swap_offsets), "overlap"),
    "transposed matrix": (
        resave(lambda t: t.update({"lm_head.weight": np.ascontiguousarray(t["lm_head.weight"].T)})),
        "lm_head.weight: float32"),
    "wrong element type": (
        resave(lambda t: t.update({"shared.weight": t["shared.weight"].astype(np.int32)})),
        "element type int32"),
    "tensor missing": (
        resave(lambda t: t.pop("decoder.block.0.layer.1.EncDecAttention.k.weight")),
        "without a tensor"),
    "layer missing": (
        resave(lambda t: [t.pop(n) for n in list(t) if n.startswith("encoder.block.1.")]),
        "num_encoder_layers: .* says 2, the tensors say 1"),
    "extra tensor": (
        resave(lambda t: t.update({"adapter.weight": np.ones(3, np.float32)})),
        "without a parameter"),
    "extra layer": (
        resave(lambda t: t.update(
            {"encoder.block.9999.layer.0.layer_norm.weight": np.ones(8, np.float32)})),
        "says 2, the tensors say 10000"),
    "not a number": (resave(nan), "NaN or infinite"),
    "infinite": (resave(infinite), "NaN or infinite"),
    "shard missing": (lose_shard, "1 of 2 shards are missing: model-00002"),
    "shard truncated": (truncate_shard, "truncated"),
    "shard outside": (escape("../../etc/passwd"), "leads out of the checkpoint's directory"),
    "shard with absolute path": (escape("/etc/passwd"), "leads out of"),
    "shard name is no string": (escape(5), "leads out of"),
    "index names a tensor that no shard has": (
        lambda d: shard(d, stranger_in_index), "ghost.weight: not in"),
    "index forgets a tensor": (
        lambda d: shard(d, forgotten_by_index), "shared.weight: in .*, not in the index"),
    "index is no JSON": (
        lambda d: (shard(d), (d / "model.safetensors.index.json").write_text("{")), "damaged JSON"),
    "config missing": (lambda d: (d / "config.json").unlink(), "config.json: does not exist"),
    "config is no JSON": (lambda d: (d / "config.json").write_text("\0"), "damaged JSON"),
    "config of another family": (
        lambda d: edit_json(d / "config.json", lambda c: c.update(model_type="longt5")),
        "unknown model type 'longt5'"),
    "config with words for numbers": (
        lambda d: edit_json(d / "config.json", lambda c: c.update(d_model="wide")), "not numbers"),
    "config with other heads": (
        lambda d: edit_json(d / "config.json", lambda c: c.update(num_heads=6, d_kv=2)),
        "num_heads: .* says 6, the tensors say 3"),
    "config with exact GELU": (
        lambda d: edit_json(d / "config.json", lambda c: c.update(feed_forward_proj="gelu")),
        "unknown feed_forward_proj"),
    "config with an ungated block": (
        lambda d: edit_json(d / "config.json", lambda c: c.update(feed_forward_proj="relu")),
        "have wi_0 and wi_1"),
    "config with another epsilon": (
        lambda d: edit_json(d / "config.json", lambda c: c.update(layer_norm_epsilon=1e-5)),
        "layer_norm_epsilon"),
    "weights missing": (
        lambda d: (d / "model.safetensors").unlink(), "none of model.safetensors"),
    "PyTorch file is text": (
        lambda d: ((d / "model.safetensors").unlink(),
                   (d / "pytorch_model.bin").write_text("version https://git-lfs")),
        "pickle|PyTorch"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HUGGINGFACE)
def test_damaged_huggingface_directory(kind, samples, tmp_path):
    damage, message = HUGGINGFACE[kind]
    path = tmp_path / "hf"
    samples.write_huggingface(path, samples.SHARED, samples.random_params(samples.SHARED))
    import_public(path)
    damage(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        import_public(path)
    assert str(tmp_path) in str(caught.value)


KERNEL = "target.encoder.layers_0.mlp.wi_0.kernel"


def edit_tree(change):
    def damage(d):
        tree = serialization.msgpack_restore((d / "checkpoint").read_bytes())
        tree = change(tree) or tree
        (d / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))

    return damage


def leaf(tree):
    return tree["optimizer"]["target"]["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def edit_array(**changes):
    return lambda d: edit_json(d / KERNEL / ".zarray", lambda m: m.update(changes))


T5X = {
    "truncated tree": (lambda d: cut(d / "checkpoint", 0.5), "truncated"),
    "empty tree": (lambda d: cut(d / "checkpoint", 0), "no known checkpoint format"),
    "array directory missing": (lambda d: shutil.rmtree(d / KERNEL), "are missing or differ"),
    "chunk missing": (lambda d: (d / KERNEL / "0.0").unlink(), "the copy is incomplete"),
    "chunk truncated": (lambda d: cut(d / KERNEL / "0.0", 0.5), "cannot be read"),
    "chunk flipped": (lambda d: flip(d / KERNEL / "0.0"), "cannot be read"),
    "metadata is no JSON": (
        lambda d: (d / KERNEL / ".zarray").write_text("{"), "damaged metadata"),
    "metadata with absurd shape": (edit_array(shape=[2**50, 12]), "is not a shape"),
    "metadata with absurd chunks": (edit_array(chunks=[2**20, 2**20]), "damaged metadata"),
    "metadata with another shape": (edit_array(shape=[12, 8], chunks=[12, 8]), "differ"),
    "metadata with an unknown type": (edit_array(dtype="|O"), "damaged metadata"),
    "path that leaves": (
        edit_tree(lambda t: leaf(t)["kvstore"].update(path="../../secret")), "leads out of"),
    "absolute path": (edit_tree(lambda t: leaf(t)["kvstore"].update(path="/etc")), "leads out of"),
    "another driver": (edit_tree(lambda t: leaf(t).update(driver="n5")), "not a Zarr array"),
    "wrapper missing": (edit_tree(lambda t: t["optimizer"]), "expected the keys 'version'"),
    "a string for an array": (
        edit_tree(lambda t: t["optimizer"]["state"].update(step="many")), "expected an array"),
    "step of wrong type": (
        edit_tree(lambda t: t["optimizer"]["state"].update(step=np.ones(3))), "state/step is"),
    "step between two": (
        edit_tree(lambda t: t["optimizer"]["state"].update(step=np.float32(7.5))), "step is 7.5"),
    "metadata with an unknown order": (edit_array(order="K"), "damaged metadata"),
    "array that nobody names": (
        lambda d: shutil.copytree(d / KERNEL, d / "target.extra"), "does not name"),
    "parameter missing": (
        edit_tree(lambda t: t["optimizer"]["target"]["encoder"].pop("encoder_norm") and None),
        "does not name"),
}  # fmt: skip


@pytest.mark.parametrize("kind", T5X)
def test_damaged_t5x_checkpoint(kind, samples, tmp_path):
    damage, message = T5X[kind]
    state = samples.t5x_state(samples.random_params(samples.SHARED))
    path = samples.write_legacy(tmp_path / "checkpoint_1000", state)
    import_public(path)
    damage(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        import_public(path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("file", ["manifest.ocdbt", "data", "description"])
def test_damaged_native_checkpoint(file, samples, tmp_path):
    from nmt5.checkpoints.conversion import ConvertConfig, convert

    source = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    native = convert(
        ConvertConfig(source=str(source), target=str(tmp_path / "n")), report=lambda line: None
    )
    path = tmp_path / "n" / "checkpoint_0"
    assert native.path == str(path)
    if file == "manifest.ocdbt":
        cut(path / "state" / file, 0.5)
    elif file == "data":
        cut(max((path / "state" / "d").iterdir(), key=lambda p: p.stat().st_size), 0.5)
    else:
        edit_json(path / "description" / "metadata", lambda d: d["model"].pop("emb_dim"))
    with pytest.raises(CheckpointError, match=r"checkpoint_0"):
        import_public(path)


def test_paths_that_are_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        import_public(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="found nothing"):
        import_public(tmp_path)
    (tmp_path / "checkpoint_5.tmp-123").mkdir()
    with pytest.raises(CheckpointError, match="interrupted save"):
        import_public(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match="file of no known checkpoint format"):
        import_public(tmp_path / "notes.txt")
