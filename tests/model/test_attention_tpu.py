"""The kernels for TPUs, interpreted here: they are XLA's attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.target import tracing_for
from nmt5.model import attention, attention_tpu
from nmt5.model.attention import attend
from nmt5.model.masks import cross_mask, decoder_mask, encoder_mask
from nmt5.partitioning.mesh import MeshConfig, make_mesh
from nmt5.partitioning.rules import PRESETS
from nmt5.partitioning.shardings import ActivationSplit

B, H, K = 4, 2, 8
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """`attend` takes the kernels, which see a CPU and are interpreted; lists their calls."""
    found = []
    kernels = attention_tpu.attend_tpu

    def counted(*arguments):
        found.append(arguments)
        return kernels(*arguments)

    monkeypatch.setattr(attention, "target_platform", lambda: "tpu")
    monkeypatch.setattr(attention, "attend_tpu", counted)
    return found


def packed(length, *, seed):
    """Tokens and segments of rows with one, two and three segments, one row with padding."""
    tokens = jnp.ones((B, length), jnp.int32).at[1, -(length // 5) :].set(0)
    cuts = np.sort(np.random.default_rng(seed).integers(1, length, (B, 2)), axis=1)
    place = np.arange(length)
    segments = 1 + (place >= cuts[:, :1]) * (np.arange(B) > 0)[:, None]
    segments = segments + (place >= cuts[:, 1:]) * (np.arange(B) > 1)[:, None]
    return tokens, jnp.asarray(segments, jnp.int32) * tokens


def example(kind, length, dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    targets, target_segments = packed(length, seed=0)
    num_keys = length
    if kind == "encoder":
        mask = encoder_mask(targets, segment_ids_BS=target_segments)
    elif kind == "decoder":
        mask = decoder_mask(targets, segment_ids_BT=target_segments)
    else:
        num_keys = length + 24
        inputs, segments = packed(num_keys, seed=1)
        mask = cross_mask(
            targets, inputs, decoder_segment_ids_BT=target_segments, encoder_segment_ids_BS=segments
        )
    query = jax.random.normal(keys[0], (B, length, H, K)).astype(dtype)
    key, value = (jax.random.normal(k, (B, num_keys, H, K)).astype(dtype) for k in keys[1:3])
    bias = jax.random.normal(keys[3], (H, length, num_keys)).astype(dtype)
    real = (targets > 0)[:, :, None, None]
    return query, key, value, None if kind == "cross" else bias, mask, real


def split_of(num_devices=1, **settings):
    config = MeshConfig(**{"data": num_devices} | settings)
    mesh = make_mesh(config, devices=jax.devices()[:num_devices])
    return ActivationSplit(mesh, PRESETS[config.preset])


def value_and_gradients(backend, kind, length, dtype, *, split):
    query, key, value, bias, mask, real = example(kind, length, dtype)
    seed = jax.random.normal(jax.random.key(1), query.shape) * real

    def total(arrays):
        query, key, value, bias = arrays
        out = attend(
            query, key_BSHK=key, value_BSHK=value, mask=mask, bias_HTS=bias, backend=backend
        )
        return jnp.sum(out.astype(jnp.float32) * seed), out * real

    with tracing_for("cpu", split=split):
        step = jax.jit(jax.grad(total, has_aux=True)).lower((query, key, value, bias)).compile()
    grads, out = step((query, key, value, bias))
    return [out, *jax.tree.leaves(grads)]


def assert_equal(found, expected, *, bound):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
        assert np.abs(ours - theirs).max() <= bound * np.abs(theirs).max()


@pytest.mark.parametrize("dtype,bound", [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("length", [29, 384, 512])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_values_and_gradients_equal_those_of_xla(kind, length, dtype, bound, calls):
    """In one piece, three of 128 queries and two of 256; padding has no value to compare."""
    expected = value_and_gradients("xla", kind, length, dtype, split=None)
    assert not calls
    found = value_and_gradients("pallas", kind, length, dtype, split=split_of())
    assert calls
    assert_equal(found, expected, bound=bound)


@pytest.mark.parametrize("preset", ["mixed", "tensor_2d"])
def test_split_over_eight_devices_it_is_the_same(preset, calls):
    split = split_of(8, data=2, fsdp=2, tensor=2, preset=preset)
    found = value_and_gradients("pallas", "decoder", 29, "float32", split=split)
    assert calls
    expected = value_and_gradients("xla", "decoder", 29, "float32", split=None)
    assert_equal(found, expected, bound=1e-5)


@pytest.mark.parametrize("split", [None, split_of(8)], ids=["devices unknown", "4 rows over 8"])
def test_what_the_kernels_are_not_for_is_for_xla(split, calls):
    value_and_gradients("pallas", "cross", 9, "float32", split=split)
    assert not calls


def test_on_other_platforms_the_setting_is_xla(monkeypatch, calls):
    monkeypatch.setattr(attention, "target_platform", lambda: "cpu")
    value_and_gradients("pallas", "cross", 9, "float32", split=split_of())
    assert not calls


@pytest.mark.parametrize(
    ("num_queries", "num_keys", "fits"),
    [(1024, 1024, True), (229, 1024, True), (4096, 4096, False), (64, 16_384, False)],
)
def test_rows_must_fit_into_vector_memory(num_queries, num_keys, fits, monkeypatch, calls):
    assert attention_tpu.fits_vector_memory(num_queries, num_keys, head_dim=64) == fits
    monkeypatch.setattr(attention_tpu, "_VECTOR_MEMORY_BYTES", 1000)
    value_and_gradients("pallas", "cross", 9, "float32", split=split_of())
    assert not calls
