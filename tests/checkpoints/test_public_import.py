"""Public checkpoints put on a mesh: the same values, and never two tensors in memory."""

import dataclasses
import gc
import weakref

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import pytest

from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.public_import import place_parameters
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths, unflatten_paths


def shardings_of(params):
    """Embedding and head sharded over their first axis, all else whole, on eight devices."""
    mesh = Mesh(np.array(jax.devices()), ("x",))
    whole = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("x"))
    return unflatten_paths(
        {path: split if value.shape[0] % 8 == 0 else whole for path, value in params.items()}
    )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["huggingface", "scanned"])
def test_one_tensor_at_a_time(layout, samples, tmp_path, monkeypatch):
    config = samples.SHARED
    if layout == "scanned":
        config = dataclasses.replace(config, relative_bias="per_layer")
    params = samples.random_params(config)
    if layout == "huggingface":
        source = samples.write_huggingface(tmp_path, config, params)
    else:
        flat = samples.t5x_state(samples.scanned(params, config))
        source = samples.write_legacy(tmp_path / "checkpoint_7", flat)
    opened, alive, read = open_checkpoint(source), [], type(open_checkpoint(source).reader).read

    def tracked(self, name):
        gc.collect()
        assert [one() for one in alive if one() is not None] == [], f"kept while {name} is read"
        values = read(self, name).copy()
        alive.append(weakref.ref(values))
        return values

    monkeypatch.setattr(type(opened.reader), "read", tracked)
    placed = flatten_paths(place_parameters(opened, shardings_of(params)))
    assert alive and placed.keys() == params.keys()
    for path, value in params.items():
        np.testing.assert_array_equal(placed[path], value, err_msg=path)
    assert len(placed["token_embedder/embedding"].addressable_shards) == 8
    assert placed["token_embedder/embedding"].addressable_shards[0].data.shape == (5, 8)


def test_another_model_is_refused(samples, tmp_path):
    params = samples.random_params(samples.SHARED)
    opened = open_checkpoint(samples.write_huggingface(tmp_path, samples.SHARED, params))
    del params["decoder/logits_dense/kernel"]
    with pytest.raises(CheckpointError, match="the parameters of another model"):
        place_parameters(opened, shardings_of(params))
