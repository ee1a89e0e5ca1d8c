"""Mesh TensorFlow checkpoints, written by TensorFlow under Mesh's names."""

import numpy as np
import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.public_import import import_public
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import ModelConfig

# 2 heads of 4 make attention kernels square, as in mT5 from base on.
SQUARE = ModelConfig(
    vocab_size=40, emb_dim=8, num_heads=2, head_dim=4, mlp_dim=12, num_encoder_layers=2,
    num_decoder_layers=1,
)  # fmt: skip


def mesh_factors(mean_square):
    """Returns Mesh's vr and vc: a stable descending sort puts the first of equal axes first."""
    largest, second = sorted(
        range(mean_square.ndim), key=lambda axis: mean_square.shape[axis], reverse=True
    )[:2]
    return mean_square.mean(axis=largest), mean_square.mean(axis=second)


def t5x_factors(mean_square):
    """Returns T5X's v_row and v_col."""
    order = np.argsort(mean_square.shape)
    return mean_square.mean(axis=int(order[-1])), mean_square.mean(axis=int(order[-2]))


@pytest.fixture(scope="module")
def checkpoint(samples, tmp_path_factory):
    import tensorflow as tf

    params = samples.random_params(SQUARE)
    rng = np.random.default_rng(3)
    squares = {path: rng.random(value.shape, np.float32) for path, value in params.items()}
    variables = {"global_step": np.int64(1234)}
    for path, value in params.items():
        name = samples.mesh_name(path)
        variables[name] = value
        if path.endswith("kernel"):
            variables[f"{name}_slot_vr"], variables[f"{name}_slot_vc"] = mesh_factors(squares[path])
        else:
            variables[f"{name}_slot_v"] = squares[path]
    prefix = str(tmp_path_factory.mktemp("mesh") / "model.ckpt-1234")
    names = list(variables)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[variables[name] for name in names],
    )
    return prefix, params, squares


def test_import_by_prefix_file_and_directory(checkpoint):
    prefix, params, _ = checkpoint
    for path in (prefix, f"{prefix}.index", prefix.rsplit("/", 1)[0]):
        found, config, step = import_public(path)
        flat = flatten_paths(found)
        assert step == 1234 and config == SQUARE
        assert flat.keys() == params.keys()
        assert all(np.array_equal(flat[name], params[name]) for name in params)


def test_slots_become_t5x_ones_also_for_square_kernels(checkpoint, tmp_path):
    prefix, _, squares = checkpoint
    lines = []
    result = convert(
        ConvertConfig(source=prefix, target=str(tmp_path / "o"), format="t5x", slots="keep"),
        report=lines.append,
    )
    # 4 kernels of each of 2 encoder self-attentions, and of the decoder's two attentions.
    assert any("v_row and v_col of 16 square kernels are exchanged" in line for line in lines)
    reader = open_checkpoint(result.path).reader
    for path, mean_square in squares.items():
        base = f"state/param_states/{path}"
        if path.endswith("kernel"):
            row, column = t5x_factors(mean_square)
            assert np.array_equal(reader.read(f"{base}/v_row"), row), path
            assert np.array_equal(reader.read(f"{base}/v_col"), column), path
        else:
            assert np.array_equal(reader.read(f"{base}/v"), mean_square)
        assert np.array_equal(reader.read(f"{base}/m"), np.zeros(1, np.float32))
    native = convert(
        ConvertConfig(source=result.path, target=str(tmp_path / "n"), slots="keep"),
        report=lines.append,
    )
    assert native.step == 1234


def test_damage_is_named(checkpoint, tmp_path):
    import pathlib

    prefix = pathlib.Path(checkpoint[0])
    for file in prefix.parent.glob("model.ckpt*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = next(tmp_path.glob("*.data-*"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 4
    data.write_bytes(content)
    with pytest.raises(CheckpointError, match="model.ckpt-1234"):
        import_public(tmp_path)
    data.unlink()
    with pytest.raises(CheckpointError, match="model.ckpt-1234"):
        import_public(tmp_path)
    with pytest.raises(CheckpointError, match=r"steps found: \[1234\]"):
        import_public(tmp_path, step=5)
