"""Round trips between formats, bit for bit, and what a conversion refuses."""

import dataclasses
import json
import os
import pathlib

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.checkpoints import checksums, conversion, whole_directory
from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.manager import load_params
from nmt5.checkpoints.public_import import import_public
from nmt5.core.errors import CheckpointError, ConfigError, StorageError
from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import ModelConfig

SILENT = {"report": lambda line: None}


def equal(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(np.asarray(first[k]), np.asarray(second[k])) for k in first
    )


def imported(path, **rest):
    params, config, step = import_public(path, **rest)
    return flatten_paths(params), config, step


def raw(path):
    """Returns all foreign tensors of a checkpoint."""
    reader = open_checkpoint(path).reader
    return {name: reader.read(name) for name in reader.specs}


CONFIGS = st.builds(
    ModelConfig,
    vocab_size=st.integers(5, 40),
    emb_dim=st.integers(1, 9),
    num_heads=st.integers(1, 3),
    head_dim=st.integers(1, 4),
    mlp_dim=st.integers(1, 9),
    num_encoder_layers=st.integers(1, 12),
    num_decoder_layers=st.integers(1, 3),
    mlp_activations=st.sampled_from([("gelu", "linear"), ("silu", "linear"), ("relu",)]),
    logits_via_embedding=st.booleans(),
    relative_bias=st.just("shared"),
    dropout_rate=st.sampled_from([0.0, 0.1]),
)
UMT5 = CONFIGS.map(
    lambda c: dataclasses.replace(c, relative_bias="per_layer", logits_via_embedding=False)
)


@settings(max_examples=12)
@given(config=CONFIGS | UMT5, seed=st.integers(0, 99))
def test_huggingface_to_nmt5_and_back_is_the_identity(config, seed, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("c")
    params = samples.random_params(config, seed)
    family = "umt5" if config.relative_bias == "per_layer" else "t5"
    projection = {("relu",): "relu", ("gelu", "linear"): "gated-gelu"}
    samples.write_huggingface(
        path / "hf", config, params, family=family, dropout_rate=config.dropout_rate,
        feed_forward_proj=projection.get(config.mlp_activations, "gated-silu"),
        tie_word_embeddings=config.logits_via_embedding,
    )  # fmt: skip
    native = convert(ConvertConfig(source=str(path / "hf"), target=str(path / "n")), **SILENT)
    assert native.model == config
    found, description = load_params(native.path)
    assert equal(flatten_paths(found), params)
    assert ModelConfig.from_dict(description.model) == config
    convert(
        ConvertConfig(
            source=native.path, target=str(path / "back"), format="huggingface", shard_bytes=2000
        ),
        **SILENT,
    )
    assert equal(raw(path / "back"), raw(path / "hf"))
    one, two = (json.loads((path / d / "config.json").read_text()) for d in ("hf", "back"))
    assert one.items() <= two.items()
    assert imported(path / "back")[1] == config


@pytest.mark.parametrize("format", ["t5x", "t5x_orbax"])
def test_t5x_to_nmt5_and_back_keeps_parameters_slots_and_step(format, samples, tmp_path):
    params = samples.random_params(samples.SHARED)
    flat = samples.t5x_state(params, slots=samples.adafactor_slots(params))
    source = samples.write_legacy(tmp_path / "checkpoint_1000", flat)
    native = convert(
        ConvertConfig(source=str(source), target=str(tmp_path / "n"), slots="keep"), **SILENT
    )
    assert native.path.endswith("/n/checkpoint_1000") and native.step == 1000
    stored = raw(native.path)
    wi = "encoder/layers_0/mlp/wi_0/kernel"
    assert np.array_equal(
        stored[f"state/optimizer/v_row/{wi}"], flat[f"state/param_states/{wi}/v_row"]
    )
    assert stored["state/optimizer/count"] == 1000
    back = convert(
        ConvertConfig(source=native.path, target=str(tmp_path / "b"), slots="keep", format=format),
        **SILENT,
    )
    assert equal(raw(back.path), flat)


# T5X fills a slot that a parameter does not use with one number, as a slot of size 1 has.
MORE_THAN_ONE = CONFIGS.filter(lambda c: min(c.emb_dim, c.mlp_dim, c.joined_dim) > 1)


@pytest.mark.slow
@settings(max_examples=10)
@given(config=MORE_THAN_ONE, seed=st.integers(0, 99), step=st.integers(0, 2**31 - 1))
def test_any_t5x_checkpoint_to_nmt5_and_back_is_the_identity(
    config, seed, step, samples, tmp_path_factory
):
    path = tmp_path_factory.mktemp("c")
    params = samples.random_params(config, seed)
    flat = samples.t5x_state(params, step=step, slots=samples.adafactor_slots(params, seed))
    source = samples.write_legacy(path / f"checkpoint_{step}", flat)
    native = convert(
        ConvertConfig(source=str(source), target=str(path / "n"), slots="keep"), **SILENT
    )
    assert equal(flatten_paths(load_params(native.path)[0]), params)
    back = convert(
        ConvertConfig(source=native.path, target=str(path / "b"), slots="keep", format="t5x"),
        **SILENT,
    )
    assert back.step == step and equal(raw(back.path), flat)


def test_scanned_layers_there_and_back(samples, tmp_path):
    config = dataclasses.replace(samples.SHARED, relative_bias="per_layer", num_decoder_layers=3)
    params = samples.random_params(config)
    flat = samples.t5x_state(samples.scanned(params, config))
    source = samples.write_legacy(tmp_path / "checkpoint_7", flat)
    found, model, _ = imported(source)
    assert equal(found, params) and model == config
    for format in ("t5x", "t5x_orbax"):
        result = convert(
            ConvertConfig(
                source=str(source), target=str(tmp_path / format), format=format, layers="scanned"
            ),
            **SILENT,
        )
        assert equal(raw(result.path), flat)
        assert equal(imported(result.path)[0], params)
    # Unscanned, T5X's network with a table per layer keeps the heads apart.
    result = convert(
        ConvertConfig(source=str(source), target=str(tmp_path / "u"), format="t5x"), **SILENT
    )
    kernel = raw(result.path)["target/encoder/layers_1/attention/query/kernel"]
    assert kernel.shape == (8, 3, 4)
    assert equal(imported(result.path)[0], params)


def test_shared_table_cannot_be_scanned(samples, tmp_path):
    source = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    config = ConvertConfig(
        source=str(source), target=str(tmp_path / "o"), format="t5x", layers="scanned"
    )
    with pytest.raises(CheckpointError, match="relative position table per layer"):
        convert(config, **SILENT)


def test_orbax_itself_restores_what_was_written(samples, tmp_path):
    import orbax.checkpoint as ocp

    params = samples.random_params(samples.SHARED)
    source = samples.write_legacy(tmp_path / "checkpoint_5", samples.t5x_state(params, step=5))
    for format in ("t5x_orbax", "nmt5"):
        target = tmp_path / format
        convert(ConvertConfig(source=str(source), target=str(target), format=format), **SILENT)
        options = ocp.CheckpointManagerOptions(step_prefix="checkpoint")
        with ocp.CheckpointManager(target, options=options) as manager:
            assert manager.latest_step() == 5
            state = manager.restore(
                5, args=ocp.args.Composite(state=ocp.args.StandardRestore())
            ).state
        assert equal(flatten_paths(state["target"]), params)
        assert state["state"]["step"] == 5


def test_orbax_written_by_orbax_is_read(samples, tmp_path):
    import orbax.checkpoint as ocp

    from nmt5.core.pytrees import unflatten_paths

    params = samples.random_params(samples.SHARED)
    tree = unflatten_paths(samples.t5x_state(params, step=9))
    for name, ocdbt in (("checkpoint_9", True), ("checkpoint_8", False)):
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)) as checkpointer:
            checkpointer.save(tmp_path / name / "state", tree)
        found, config, step = imported(tmp_path / name)
        assert equal(found, params) and config == samples.SHARED and step == 9
    assert imported(tmp_path)[2] == 9
    assert imported(tmp_path, step=8)[2] == 9
    with pytest.raises(CheckpointError, match=r"no step 3; it has \[8, 9\]"):
        import_public(tmp_path, step=3)


def test_bfloat16_is_rounded_and_said(samples, tmp_path):
    import ml_dtypes

    params = samples.random_params(samples.SHARED)
    source = samples.write_huggingface(tmp_path / "hf", samples.SHARED, params)
    for format in ("huggingface", "t5x", "t5x_orbax"):
        result = convert(
            ConvertConfig(
                source=str(source), target=str(tmp_path / format), format=format, dtype="bfloat16"
            ),
            **SILENT,
        )
        assert "float32 is rounded to bfloat16" in result.notes
        rounded = {p: v.astype(ml_dtypes.bfloat16).astype(np.float32) for p, v in params.items()}
        assert equal(imported(result.path)[0], rounded)
    config = json.loads((tmp_path / "huggingface" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"


def test_tokenizer_files_travel_through_the_native_format(samples, tmp_path):
    source = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    (source / "tokenizer_config.json").write_text('{"extra_ids": 0}')
    native = convert(ConvertConfig(source=str(source), target=str(tmp_path / "n")), **SILENT)
    back = convert(
        ConvertConfig(source=native.path, target=str(tmp_path / "b"), format="huggingface"),
        **SILENT,
    )
    kept = pathlib.Path(back.path) / "tokenizer_config.json"
    assert kept.read_text() == '{"extra_ids": 0}'


def test_nan_stops_the_conversion_and_leaves_nothing(samples, tmp_path):
    params = samples.random_params(samples.SHARED)
    params["decoder/layers_0/mlp/wo/kernel"][3, 2] = np.nan
    source = samples.write_huggingface(tmp_path / "hf", samples.SHARED, params)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError, match="decoder/layers_0/mlp/wo/kernel: 1 of 96 values"):
        convert(
            ConvertConfig(source=str(source), target=str(tmp_path / "o"), format="huggingface"),
            **SILENT,
        )
    assert sorted(os.listdir(tmp_path)) == before


def test_an_interrupt_leaves_nothing_that_looks_complete(samples, tmp_path, monkeypatch):
    source = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    seen = []

    def interrupted(*_):
        seen.extend(path for path in tmp_path.rglob("*") if ".tmp-" in str(path))
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "write_beside", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(
            ConvertConfig(source=str(source), target=str(tmp_path / "o"), format="huggingface"),
            **SILENT,
        )
    # What a kill would have left: weights under a name that no reader takes.
    assert any(path.name == "model.safetensors.partial" for path in seen)
    assert not any(path.name == "config.json" for path in seen)
    assert sorted(os.listdir(tmp_path)) == ["hf"]


def test_existing_target_full_disk_and_remote_target_are_refused(samples, tmp_path, monkeypatch):
    source = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    config = ConvertConfig(source=str(source), target=str(source), format="huggingface")
    with pytest.raises(StorageError, match="exists already"):
        convert(config, **SILENT)
    with pytest.raises(StorageError, match="only local directories"):
        convert(dataclasses.replace(config, target="gs://bucket/x"), **SILENT)
    usage = whole_directory.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(whole_directory.shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(StorageError, match="0.00 GB are free"):
        convert(dataclasses.replace(config, target=str(tmp_path / "o")), **SILENT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "hugingface"}, "nearest: 'huggingface'"),
        ({"format": "mesh_tensorflow"}, "unknown choice"),
        ({"dtype": "float16", "format": "t5x"}, "dtype: unknown choice"),
        ({"dtype": "bfloat16"}, "keeps parameters in float32"),
        ({"format": "huggingface", "slots": "keep"}, "no optimizer state"),
        ({"layers": "scanned"}, "only T5X formats"),
        ({"family": "bert"}, "unknown model type"),
    ],
)
def test_contradictory_choices_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ConvertConfig(source="a", target="b", **changes)


def test_slots_that_are_not_there_cannot_be_kept(samples, tmp_path):
    source = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    with pytest.raises(CheckpointError, match="no optimizer state"):
        convert(
            ConvertConfig(source=str(source), target=str(tmp_path / "o"), slots="keep"), **SILENT
        )


def test_checksums_worked_out_while_writing_are_those_of_the_files(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("nmt5.checkpoints.array_store.CHUNK_BYTES", 64)
    monkeypatch.setattr(conversion, "SLAB_BYTES", 1)
    early = []

    class Watched(checksums.RunningChecksums):
        def close(self):
            early.append(super().close())
            return early[0]

    monkeypatch.setattr(checksums, "RunningChecksums", Watched)
    source = samples.write_legacy(
        tmp_path / "checkpoint_5", samples.t5x_state(samples.random_params(samples.SHARED), step=5)
    )
    made = convert(ConvertConfig(source=str(source), target=str(tmp_path / "o")), **SILENT)
    assert len(early[0]) > 5
    assert checksums.find_damage(made.path) == []
    listed = json.loads((pathlib.Path(made.path) / checksums.FILE).read_text())["files"]
    assert early[0].items() <= {name: entry["sha256"] for name, entry in listed.items()}.items()
