"""Adafactor's slots between unscanned layers, scanned layers and heads apart."""

import jax
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.core.errors import CheckpointError
from nmt5.model.config import ModelConfig

# Large enough to be factored here too; F above and J below D, so that the slots change places.
CONFIG = ModelConfig(
    vocab_size=8, emb_dim=144, num_heads=2, head_dim=64, mlp_dim=160, num_encoder_layers=2,
    num_decoder_layers=3, relative_bias="per_layer",
)  # fmt: skip
SILENT = {"report": lambda line: None}


def raw(path):
    reader = open_checkpoint(path).reader
    return {name: reader.read(name) for name in reader.specs}


def moments(path, value, seed):
    """Slots of one matrix by the rule written down a second time: `v_row` keeps the smaller axis.

    They are the means of one `v`, as after any number of updates.
    """
    one = np.zeros(1, np.float32)
    v = np.random.default_rng(seed).random(value.shape, np.float32)
    if value.ndim < 2 or min(value.shape) < 128:
        return {"v": v, "v_row": one, "v_col": one, "m": one}
    means = {0: v.mean(axis=1), 1: v.mean(axis=0)}  # by the axis that is kept
    small = 0 if value.shape[0] <= value.shape[1] else 1
    return {"v": one, "v_row": means[small], "v_col": means[1 - small], "m": one}


@pytest.fixture(scope="module")
def unscanned(samples, tmp_path_factory):
    params = samples.random_params(CONFIG)
    slots = {
        f"{path}/{slot}": value
        for seed, (path, array) in enumerate(params.items())
        for slot, value in moments(path, array, seed).items()
    }
    path = tmp_path_factory.mktemp("unscanned") / "checkpoint_50"
    return samples.write_legacy(path, samples.t5x_state(params, step=50, slots=slots))


def converted(source, target, **settings):
    settings = {"slots": "keep", "format": "t5x"} | settings
    return convert(ConvertConfig(source=str(source), target=str(target), **settings), **SILENT).path


def test_there_and_back_by_every_layout(unscanned, tmp_path):
    native = converted(unscanned, tmp_path / "native", format="nmt5")
    wanted = raw(native)
    for name, settings in {
        "scanned": {"layers": "scanned"},
        "apart": {},
        "orbax": {"layers": "scanned", "format": "t5x_orbax"},
    }.items():
        there = converted(native, tmp_path / name, **settings)
        back = raw(converted(there, tmp_path / f"{name}_back", format="nmt5"))
        assert back.keys() == wanted.keys()
        for tensor, value in wanted.items():
            np.testing.assert_array_equal(back[tensor], value, err_msg=tensor)


def test_scanned_slots_have_the_shapes_and_meaning_of_t5x(unscanned, tmp_path):
    native = converted(unscanned, tmp_path / "native", format="nmt5")
    ours, theirs = raw(native), raw(converted(native, tmp_path / "s", layers="scanned"))
    place = "state/param_states/decoder/decoder"
    shapes = {
        "self_attention/query/kernel/v_row": (144, 3),
        "self_attention/query/kernel/v_col": (3, 2, 64),
        "self_attention/out/kernel/v_row": (3, 144),
        "self_attention/out/kernel/v_col": (2, 3, 64),
        "mlp/wi_0/kernel/v_row": (144, 3),
        "mlp/wi_0/kernel/v_col": (3, 160),
        "mlp/wo/kernel/v_row": (3, 144),
        "mlp/wo/kernel/v_col": (160, 3),
        "pre_mlp_layer_norm/scale/v": (144, 3),
        "pre_mlp_layer_norm/scale/v_row": (1,),
        "relpos_bias/rel_embedding/v": (2, 3, 32),
        "mlp/wo/kernel/m": (1,),
    }
    assert {name: theirs[f"{place}/{name}"].shape for name in shapes} == shapes
    # Of query (144, 128) the larger axis is D, so what T5X calls v_row is v_col here.
    wide = ours["state/optimizer/v_col/decoder/layers_2/self_attention/query/kernel"]
    assert np.array_equal(theirs[f"{place}/self_attention/query/kernel/v_row"][:, 2], wide)
    # Of wo (160, 144) the smaller is.
    small = ours["state/optimizer/v_row/decoder/layers_1/mlp/wo/kernel"]
    assert np.array_equal(theirs[f"{place}/mlp/wo/kernel/v_row"][1], small)
    heads = theirs[f"{place}/self_attention/out/kernel/v_col"]
    joined = ours["state/optimizer/v_row/decoder/layers_0/self_attention/out/kernel"]
    assert np.array_equal(heads[:, 0].reshape(-1), joined)


def test_small_matrices_are_factored_there_and_whole_here(samples, tmp_path):
    config = ModelConfig(
        vocab_size=8, emb_dim=6, num_heads=2, head_dim=4, mlp_dim=5, num_encoder_layers=2,
        num_decoder_layers=1, relative_bias="per_layer",
    )  # fmt: skip
    params = samples.random_params(config)
    slots = {
        f"{path}/{slot}": value
        for seed, (path, array) in enumerate(params.items())
        for slot, value in moments(path, array, seed).items()
    }
    source = samples.write_legacy(
        tmp_path / "checkpoint_5", samples.t5x_state(params, step=5, slots=slots)
    )
    scanned = converted(source, tmp_path / "s", layers="scanned")
    v = slots["encoder/layers_1/mlp/wi_0/kernel/v"]
    held = raw(scanned)
    place = "state/param_states/encoder/encoder/mlp/wi_0/kernel"
    np.testing.assert_allclose(held[f"{place}/v_row"][:, 1], v.mean(axis=1), rtol=1e-6)
    assert held[f"{place}/v"].shape == (1,)
    back = raw(converted(scanned, tmp_path / "b", format="nmt5"))
    estimate = np.outer(v.mean(axis=1), v.mean(axis=0)) / v.mean()
    found = back["state/optimizer/v/encoder/layers_1/mlp/wi_0/kernel"]
    np.testing.assert_allclose(found, estimate, rtol=1e-5)


def test_slots_of_another_model_are_listed(samples, unscanned, tmp_path):
    scanned = converted(unscanned, tmp_path / "s", layers="scanned")
    flat = raw(scanned)
    flat["state/param_states/encoder/encoder/mlp/wo/kernel/v_col"] = np.ones((160, 2, 3), "f")
    del flat["state/param_states/decoder/decoder_norm/scale/v"]
    for slot in ("m", "v_row", "v_col"):
        del flat[f"state/param_states/decoder/decoder_norm/scale/{slot}"]
    broken = samples.write_legacy(tmp_path / "checkpoint_50", flat)
    with pytest.raises(CheckpointError) as caught:
        converted(broken, tmp_path / "o", format="nmt5")
    assert "mlp/wo/kernel/v_col: float32[160, 2, 3]" in str(caught.value)
    assert "decoder/decoder_norm/scale: no slot" in str(caught.value)


def test_slots_are_those_that_t5x_makes():
    """T5X's own Adafactor on the layers apart and stacked: the same moments, named by our rule."""
    adafactor = pytest.importorskip("t5x.adafactor")
    rng = np.random.default_rng(0)
    shapes = {"query": (144, 2, 64), "out": (2, 64, 144), "wi": (144, 160), "wo": (160, 144)}
    axes = {"query": ("embed", "layers", "heads", "kv"), "out": ("heads", "layers", "kv", "embed"),
            "wi": ("embed", "layers", "mlp"), "wo": ("mlp", "layers", "embed")}  # fmt: skip
    for name, shape in shapes.items():
        grads = rng.standard_normal((3, *shape), np.float32)
        matrix = (shape[0], -1) if name != "out" else (-1, shape[-1])
        optimizer = adafactor.Adafactor(
            learning_rate=0.1, logical_factor_rules=adafactor.standard_logical_factor_rules()
        )
        optimizer.set_param_axes({"x": PartitionSpec(*axes[name])})

        def updated(optimizer, grad):
            state = optimizer.init_param_state(grad, "x")
            return optimizer.apply_param_gradient(
                4, optimizer.hyper_params, np.ones_like(grad), state, grad, "x"
            )[1]

        stacked = jax.tree.map(np.asarray, updated(optimizer, np.stack(list(grads), axis=1)))
        plain = adafactor.Adafactor(learning_rate=0.1)
        for layer, grad in enumerate(grads):
            alone = updated(plain, grad.reshape(matrix))
            embed = 0 if name in ("query", "wi") else 1
            size = grad.reshape(matrix).shape
            kept = "v_row" if np.argsort(size, kind="stable")[0] == embed else "v_col"
            other = "v_col" if kept == "v_row" else "v_row"
            layer_axis = 1 if embed == 0 else 0
            np.testing.assert_allclose(
                np.take(stacked.v_row, layer, axis=layer_axis),
                getattr(alone, kept),
                rtol=1e-5,
            )
            layer_axis = 1 if name in ("out", "wo") else 0
            np.testing.assert_allclose(
                np.take(stacked.v_col, layer, axis=layer_axis).reshape(-1),
                getattr(alone, other),
                rtol=1e-5,
            )
