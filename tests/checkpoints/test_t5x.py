"""T5X's legacy format in all its variants."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.public_import import import_public
from nmt5.core.errors import CheckpointError
from nmt5.core.pytrees import flatten_paths


@pytest.fixture
def state(samples):
    return samples.t5x_state(samples.random_params(samples.SHARED), step=77)


def assert_holds(path, state):
    params, _, step = import_public(path)
    flat = flatten_paths(params)
    assert step == 77 and {f"target/{name}" for name in flat} == set(state) - {"state/step"}
    for name, value in flat.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, np.asarray(state[f"target/{name}"]).astype(np.float32)), name


@pytest.mark.parametrize("driver", ["file", "gfile", "gcs"])
def test_specs_written_for_other_places_are_read_here(driver, state, samples, tmp_path):
    path = samples.write_legacy(
        tmp_path / "checkpoint_77", state, driver=driver, old_path=driver == "gfile"
    )
    assert_holds(path, state)
    assert open_checkpoint(path).config == samples.SHARED


def test_a_single_file_with_all_arrays_inline(state, samples, tmp_path):
    path = samples.write_legacy(tmp_path / "checkpoint_77", state, inline=True)
    file = tmp_path / "single.checkpoint_77"
    (path / "checkpoint").rename(file)
    assert_holds(file, state)


def test_bfloat16_and_its_disguise_as_uint16_in_version_2(state, samples, tmp_path):
    narrow = {
        name: np.asarray(value).astype(ml_dtypes.bfloat16) if name.startswith("target") else value
        for name, value in state.items()
    }
    disguised = {
        name: value.view(np.uint16) if name.startswith("target") else value
        for name, value in narrow.items()
    }
    assert_holds(samples.write_legacy(tmp_path / "v3", narrow), narrow)
    assert_holds(samples.write_legacy(tmp_path / "v2", disguised, version=2), narrow)
    with pytest.raises(CheckpointError, match="element type uint16, expected floats"):
        import_public(samples.write_legacy(tmp_path / "wrong", disguised, version=3))


def test_a_step_that_was_cast_with_the_parameters(state, samples, tmp_path):
    """As T5X writes it with its default, `SaveCheckpointConfig.dtype = 'float32'`."""
    cast = state | {"state/step": np.float32(77)}
    assert_holds(samples.write_legacy(tmp_path / "checkpoint_77", cast), cast)


def test_old_versions_and_other_trees_are_refused(state, samples, tmp_path):
    with pytest.raises(CheckpointError, match="version 1, expected 2 or 3"):
        open_checkpoint(samples.write_legacy(tmp_path / "v1", state, version=1))
    with pytest.raises(CheckpointError, match="version is no number"):
        open_checkpoint(samples.write_legacy(tmp_path / "x", state, version="3"))


def test_exchanged_slots_of_square_kernels_only(samples):
    from nmt5.checkpoints.mesh_tensorflow import is_exchanged

    assert is_exchanged((768, 768)) and not is_exchanged((512, 384)) and not is_exchanged((8,))


def test_slots_of_wrong_shape_are_listed(samples, tmp_path):
    params = samples.random_params(samples.SHARED)
    slots = samples.adafactor_slots(params)
    slots["encoder/layers_1/mlp/wo/kernel/v_col"] = np.ones(5, np.float32)
    slots["decoder/decoder_norm/scale/v"] = np.ones(8, np.int32)
    source = samples.write_legacy(tmp_path / "checkpoint_1", samples.t5x_state(params, slots=slots))
    with pytest.raises(CheckpointError) as caught:
        convert(ConvertConfig(source=str(source), target=str(tmp_path / "o"), slots="keep"))
    assert "encoder/layers_1/mlp/wo/kernel/v_col: float32[5]" in str(caught.value)
    assert "decoder/decoder_norm/scale/v: int32[8]" in str(caught.value)


def test_what_legacy_writes_flax_and_tensorstore_read(state, samples, tmp_path):
    from flax import serialization
    import tensorstore as ts

    source = samples.write_legacy(tmp_path / "checkpoint_77", state)
    result = convert(
        ConvertConfig(source=str(source), target=str(tmp_path / "o"), format="t5x"),
        report=lambda line: None,
    )
    directory = tmp_path / "o" / "checkpoint_77"
    assert result.path == str(directory)
    tree = serialization.msgpack_restore((directory / "checkpoint").read_bytes())
    assert tree["version"] == 3 and tree["optimizer"]["state"]["step"] == 77
    leaf = tree["optimizer"]["target"]["decoder"]["logits_dense"]["kernel"]
    spec = dict(leaf)
    # T5X joins the stored path to the checkpoint's directory and opens the whole spec.
    spec["kvstore"] = leaf["kvstore"] | {"path": str(directory / leaf["kvstore"]["path"])}
    found = ts.open(spec).result().read().result()
    assert np.array_equal(found, state["target/decoder/logits_dense/kernel"])


def test_per_layer_tables_with_heads_apart(samples, tmp_path):
    config = dataclasses.replace(samples.SHARED, relative_bias="per_layer")
    params = samples.random_params(config)
    apart = {}
    for path, value in params.items():
        if "attention/" in path:
            out = path.endswith("out/kernel")
            shape = (3, 4, 8) if out else (8, 3, 4)
            value = value.reshape(shape)
        apart[path] = value
    source = samples.write_legacy(tmp_path / "checkpoint_77", samples.t5x_state(apart, step=77))
    assert_holds(source, samples.t5x_state(params, step=77))
    assert open_checkpoint(source).config == config
