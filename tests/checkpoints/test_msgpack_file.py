"""Flax's MessagePack files: everything that flax writes, and nothing that it does not."""

from flax import serialization
from hypothesis import given
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.checkpoints.msgpack_file import parse_msgpack
from nmt5.checkpoints.tensors import StoredTensor, StoredTensorReader
from nmt5.core.errors import CheckpointError

LEAVES = st.one_of(
    st.integers(-(2**40), 2**40),
    st.text(max_size=300),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.builds(
        lambda shape, dtype: np.arange(int(np.prod(shape))).reshape(shape).astype(dtype),
        st.lists(st.integers(0, 20), max_size=3).map(tuple),
        st.sampled_from([np.float32, np.int32, np.float16, jnp.bfloat16, np.uint16]),
    ),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.text(max_size=40), inner, max_size=20), max_leaves=30
)


def loaded(tree, path):
    if isinstance(tree, dict):
        return {key: loaded(value, path) for key, value in tree.items()}
    if isinstance(tree, StoredTensor):
        return StoredTensorReader({"x": tree}, files={tree.file: path}).read("x")
    return tree


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return first == second


@given(tree=st.dictionaries(st.text(max_size=5), TREES, max_size=20))
def test_reads_what_flax_writes(tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "x.msgpack"
    path.write_bytes(serialization.msgpack_serialize(tree))
    assert equal(loaded(parse_msgpack(path), path), tree)


def test_chunked_arrays_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 40)
    values = np.arange(105, dtype=np.float32).reshape(5, 7, 3)
    path = tmp_path / "x.msgpack"
    path.write_bytes(serialization.msgpack_serialize({"a": {"b": values}, "c": np.ones(3)}))
    tree = parse_msgpack(path)
    assert len(tree["a"]["b"].extents) == 11
    assert np.array_equal(loaded(tree, path)["a"]["b"], values)


@given(noise=st.binary(max_size=60), cut=st.integers(0, 200))
def test_any_bytes_give_a_value_or_one_kind_of_error(noise, cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "x.msgpack"
    good = serialization.msgpack_serialize({"a": np.ones((2, 3), np.float32), "b": {"c": 1}})
    for content in (noise, good[:cut] + noise + good[cut + len(noise) :]):
        path.write_bytes(content)
        try:
            parse_msgpack(path)
        except CheckpointError as error:
            assert str(path) in str(error)


def test_absurd_sizes_are_refused_without_memory(tmp_path):
    path = tmp_path / "x.msgpack"
    for content in (b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
                    b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 5000):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            parse_msgpack(path)
