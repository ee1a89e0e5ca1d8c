"""PyTorch files: read like torch, without executing anything."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from nmt5.checkpoints.public_import import import_public
from nmt5.checkpoints.tensors import StoredTensorReader
from nmt5.checkpoints.torch_file import parse_torch
from nmt5.checkpoints.torch_pickle import PickledTensor, Storage, read_state_dict, storage_axes
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths


@pytest.mark.parametrize("family", ["mt5", "t5", "umt5"])
def test_what_torch_saved_is_read_exactly(family, samples):
    path = samples.GOLDEN / f"torch_{family}" / "pytorch_model.bin"
    reader = StoredTensorReader(parse_torch(path), files={path.name: path})
    with np.load(path.parent / "expected.npz") as expected:
        assert reader.specs.keys() == set(expected.files)
        for name in expected.files:
            assert np.array_equal(reader.read(name), expected[name]), name
            assert np.array_equal(reader.read_rows(name, start=1, stop=5), expected[name][1:5]), (
                name
            )


@pytest.mark.parametrize("family", ["mt5", "t5", "umt5"])
def test_names_of_transformers_are_those_of_the_table(family, samples):
    path = samples.GOLDEN / f"torch_{family}"
    params, config, _ = import_public(path)
    with np.load(path / "expected.npz") as expected:
        tensors = dict(expected.items())
    mapped = samples.huggingface_tensors(flatten_paths(params))
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
        assert np.array_equal(tensors.pop(name), tensors["shared.weight"])
    if family == "t5":
        assert config.logits_via_embedding and config.mlp_activations == ("relu",)
        tensors.pop("lm_head.weight")
    assert mapped.keys() == tensors.keys()
    assert all(np.array_equal(mapped[name], tensors[name]) for name in tensors)


class _Exploit:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def zipped(path, pickled, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps({"shared.weight": _Exploit()}, protocol=protocol)
    zipped(tmp_path / "model.bin", pickled)
    (tmp_path / "old.bin").write_bytes(pickled)
    for name in ("model.bin", "old.bin"):
        with pytest.raises(CheckpointError, match=r"mkdir|use opcode|not a PyTorch"):
            parse_torch(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_members_that_leave_the_archive_are_refused(tmp_path):
    path = zipped(tmp_path / "model.bin", pickle.dumps({}, 2), **{"archive/../../x": b"1"})
    with pytest.raises(CheckpointError, match="leads out of the archive"):
        parse_torch(path)


def test_a_flipped_bit_is_noticed(samples, tmp_path):
    content = bytearray((samples.GOLDEN / "torch_umt5" / "pytorch_model.bin").read_bytes())
    good = samples.GOLDEN / "torch_umt5" / "pytorch_model.bin"
    tensor = parse_torch(good)["lm_head.weight"]
    content[tensor.extents[0][0] + 5] ^= 1
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    reader = StoredTensorReader(parse_torch(path), files={path.name: path})
    with pytest.raises(CheckpointError, match="do not have the checksum"):
        reader.read("lm_head.weight")


def test_axes_of_views():
    storage = Storage("0", "float32", 24)
    assert storage_axes(PickledTensor(storage, 0, (2, 3, 4), (12, 4, 1)), where="x") is None
    assert storage_axes(PickledTensor(storage, 0, (3, 2), (1, 3)), where="x") == (1, 0)
    assert storage_axes(PickledTensor(storage, 0, (2, 3, 4), (1, 8, 2)), where="x") == (1, 2, 0)
    for strides in [(0, 1), (1, 1), (8, 2)]:
        with pytest.raises(CheckpointError, match="do not make a dense tensor"):
            storage_axes(PickledTensor(storage, 0, (3, 2), strides), where="x")


@pytest.mark.parametrize(
    "content",
    [
        b"", b".", b"\x80\x02}", b"\x80\x02K\x01s.", b"\x80\x02h\x05.", b"(((((.", b"\x80\x02\x85.",
        b"\x80\x02X\xff\xff\xff\xff", b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"a",
        b"\x80\x02)\x81.", b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
    ],
)  # fmt: skip
def test_damaged_pickles_give_one_kind_of_error(content):
    with pytest.raises(CheckpointError, match="x: "):
        read_state_dict(io.BytesIO(content), where="x")
