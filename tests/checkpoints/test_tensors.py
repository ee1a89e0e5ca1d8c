"""Byte ranges, finite checks, and arrays in Zarr."""

from hypothesis import given
from hypothesis import strategies as st
import ml_dtypes
import numpy as np
import pytest

from nmt5.checkpoints.array_store import (
    CHUNK_BYTES,
    ArrayStoreReader,
    ArrayStoreWriter,
    chunk_shape,
)
from nmt5.checkpoints.huggingface_export import contiguous
from nmt5.checkpoints.tensors import (
    RandomAccessFile,
    StoredTensor,
    StoredTensorReader,
    TensorSpec,
    checked_file_name,
    checked_shape,
    is_finite,
    slabs,
)
from nmt5.core.errors import CheckpointError


def test_reading_past_the_end_is_an_error_before_memory_is_taken(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    with RandomAccessFile(path) as file:
        assert bytes(file.read_at(1, 3)) == b"234"
        for offset, count in ((3, 3), (-1, 2), (0, 2**62)):
            with pytest.raises(CheckpointError, match="the file has 5"):
                file.read_at(offset, count)


def test_pieces_are_put_together(tmp_path):
    values = np.arange(12, dtype=np.float32)
    (tmp_path / "f").write_bytes(b"xx" + values[6:].tobytes() + values[:6].tobytes())
    tensor = StoredTensor(TensorSpec((3, 4), values.dtype), "f", ((26, 24), (2, 24)))
    reader = StoredTensorReader({"a": tensor}, files={"f": tmp_path / "f"})
    assert np.array_equal(reader.read("a"), values.reshape(3, 4))
    assert np.array_equal(reader.read_rows("a", start=1, stop=3), values.reshape(3, 4)[1:])


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float64, np.float16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("transposed", [False, True])
def test_one_bad_value_is_found(dtype, bad, transposed):
    values = np.zeros((700, 30), dtype)
    values = values.T if transposed else values
    assert is_finite(values)
    values[-1, -2] = bad
    assert not is_finite(values)
    assert is_finite(np.zeros((), dtype)) and not is_finite(np.array(bad, dtype))


def test_large_but_finite_values_are_no_fault():
    assert is_finite(np.full((10, 10), 3e38, np.float32))


@given(
    shape=st.lists(st.integers(0, 50), min_size=1, max_size=3).map(tuple),
    itemsize=st.sampled_from([2, 4 * 2**20, 2**40]),
)
def test_slabs_cover_every_row_once(shape, itemsize):
    rows = [row for start, stop in slabs(shape, itemsize=itemsize) for row in range(start, stop)]
    assert rows == list(range(shape[0]))


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=3).map(tuple))
def test_chunks_divide_the_shape_and_fit(shape):
    chunks = chunk_shape(shape, itemsize=4)
    assert all(n % c == 0 for n, c in zip(shape, chunks, strict=True))
    assert np.prod(chunks, dtype=np.int64) * 4 <= CHUNK_BYTES


@given(rows=st.integers(1, 1100), columns=st.integers(1, 700))
def test_tiled_copy_is_a_copy(rows, columns):
    values = np.arange(rows * columns, dtype=np.float32).reshape(columns, rows).T
    copied = contiguous(values)
    assert copied.flags.c_contiguous and np.array_equal(copied, values)


@pytest.mark.parametrize("ocdbt", [True, False])
def test_arrays_of_many_chunks_and_none(ocdbt, tmp_path, monkeypatch):
    monkeypatch.setattr("nmt5.checkpoints.array_store.CHUNK_BYTES", 64)
    rng = np.random.default_rng(0)
    arrays = {
        "a/b": rng.standard_normal((10, 6), np.float32).T,
        "a/c": np.zeros((16, 2), np.float32),  # zeros must be stored too, or look like a lost chunk
        "step": np.int32(7),
    }
    writer = ArrayStoreWriter(tmp_path, ocdbt=ocdbt)
    for name, values in arrays.items():
        writer.write(name, np.asarray(values))
    writer.flush()
    reader = ArrayStoreReader(tmp_path)
    assert reader.specs.keys() == arrays.keys() and not reader.absent_chunks
    for name, values in arrays.items():
        assert np.array_equal(reader.read(name), values)
    assert reader.read("a/b").flags.f_contiguous  # neither written nor read the other way round
    assert np.array_equal(reader.read_rows("a/b", start=2, stop=4), arrays["a/b"][2:4])


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".", "", "\0", None, 3])
def test_names_that_lead_elsewhere(name):
    with pytest.raises(CheckpointError, match="leads out of"):
        checked_file_name(name, where="x")


@pytest.mark.parametrize("shape", [None, "34", [1.5], [True], [-1], [1] * 9, [2**30, 2**30], 4])
def test_values_that_are_no_shape(shape):
    with pytest.raises(CheckpointError, match="is not a shape"):
        checked_shape(shape, where="x")
