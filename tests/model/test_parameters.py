import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.axes import LOGICAL_AXIS_OF_LETTER
from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import model_config
from nmt5.model.initializers import FAN_IN_TRUNCATED
from nmt5.model.network import Transformer
from nmt5.model.parameters import init_params, num_params, param_axes, param_shapes

# Totals and parts of mT5 as T5X's own network has them.
MT5 = {
    "small": (300_176_768, 128_057_344, 18_883_264, 25_178_816),
    "base": (582_401_280, 192_086_016, 84_954_240, 113_275_008),
    "large": (1_229_581_312, 256_114_688, 308_332_032, 409_019_904),
    "xl": (3_742_619_648, 512_229_376, 1_157_729_280, 1_560_431_616),
    "xxl": (12_921_057_280, 1_024_458_752, 4_630_714_368, 6_241_425_408),
}


@pytest.mark.parametrize("size", MT5)
def test_mt5_counts(size):
    total, table, encoder, decoder = MT5[size]
    shapes = param_shapes(model_config(f"mt5_{size}"))
    parts = {"token_embedder": 0, "encoder": 0, "decoder": 0}
    for path, shape in shapes.items():
        parts[path.split("/")[0]] += shape.size
    head = shapes["decoder/logits_dense/kernel"].size
    assert sum(parts.values()) == total
    assert (parts["token_embedder"], head) == (table, table)
    assert (parts["encoder"], parts["decoder"] - head) == (encoder, decoder)


def arithmetic(config):
    """The published formula, written independently of the network."""
    d, j, f, v = config.emb_dim, config.joined_dim, config.mlp_dim, config.vocab_size
    mlp = (len(config.mlp_activations) + 1) * d * f
    layers = config.num_encoder_layers * (4 * d * j + mlp + 2 * d)
    layers += config.num_decoder_layers * (8 * d * j + mlp + 3 * d)
    tables = 2
    if config.relative_bias == "per_layer":
        tables = config.num_encoder_layers + config.num_decoder_layers
    embeddings = 1 if config.logits_via_embedding else 2
    return layers + tables * config.num_heads * config.relative_buckets + 2 * d + embeddings * v * d


@pytest.mark.parametrize(
    "size",
    [
        "t5_small", "t5_3b", "t5_1_1_base", "byt5_small", "umt5_small", "madlad400_7b", "demo",
        "tiny",
    ],
)  # fmt: skip
def test_counts_of_other_families(size):
    assert num_params(model_config(size)) == arithmetic(model_config(size))


@pytest.mark.slow
def test_known_totals_of_other_families():
    assert num_params(model_config("t5_small")) == 60_506_624
    assert num_params(model_config("t5_base")) == 222_903_552
    assert num_params(model_config("aya_101")) == MT5["xxl"][0]
    # google/madlad400-3b-mt's float32 file has 11.8 GB.
    assert num_params(model_config("madlad400_3b")) == 2_940_374_016
    assert num_params(model_config("madlad400_7b")) == 8_296_829_952
    assert num_params(model_config("madlad400_10b")) == 10_712_586_240
    # One table per layer and stack instead of one per stack.
    mt5 = num_params(model_config("mt5_small", vocab_size=256_384))
    assert num_params(model_config("umt5_small")) == mt5 + 2 * 7 * 32 * 6


def test_every_parameter_has_a_logical_axis_per_dimension():
    config = model_config("tiny", relative_bias="per_layer")
    shapes, axes = param_shapes(config), param_axes(config)
    assert set(shapes) == set(axes)
    for path, names in axes.items():
        assert len(names) == len(shapes[path].shape), path
        assert set(names) <= set(LOGICAL_AXIS_OF_LETTER.values()), path
    assert axes["encoder/layers_1/relpos_bias/rel_embedding"] == ("heads", "relpos_buckets")


def test_params_axes_collection_is_t5x_s():
    token = jnp.ones((1, 1), jnp.int32)
    init = Transformer(model_config("tiny")).init
    variables = jax.eval_shape(init, jax.random.key(0), token, token, token)
    assert variables.keys() == {"params", "params_axes"}
    axes = variables["params_axes"]
    assert axes["token_embedder"]["embedding_axes"].names == ("vocab", "embed")


def initial_params(config, drawn_by):
    if drawn_by == "nmt5":
        return flatten_paths(init_params(config, seed=0))
    token = jnp.ones((1, 1), jnp.int32)
    init = jax.jit(Transformer(config).init)
    return flatten_paths(init(jax.random.key(0), token, token, token)["params"])


@pytest.mark.parametrize("drawn_by", ["nmt5", "Flax"])
def test_initial_distributions(drawn_by):
    config = model_config("tiny", emb_dim=64, num_heads=4, head_dim=16, mlp_dim=256, vocab_size=999)
    params = initial_params(config, drawn_by)
    joined = 64
    expected = {
        "token_embedder/embedding": 1.0,
        "encoder/layers_0/attention/query/kernel": (64 * 16) ** -0.5,
        "encoder/layers_0/attention/key/kernel": 64**-0.5,
        "encoder/layers_0/attention/out/kernel": joined**-0.5,
        "encoder/layers_0/mlp/wi_0/kernel": 64**-0.5,
        "encoder/layers_0/mlp/wo/kernel": 256**-0.5,
        "decoder/logits_dense/kernel": 64**-0.5,
        "encoder/relpos_bias/rel_embedding": (2 / (4 + 32)) ** 0.5,
    }
    for path, std in expected.items():
        assert params[path].dtype == jnp.float32
        np.testing.assert_allclose(np.std(params[path]), std, rtol=0.06, err_msg=path)
        assert abs(np.mean(params[path])) < 4 * std / params[path].size ** 0.5, path
    # Truncated at two standard deviations (of the untruncated normal) or not at all.
    wide = np.abs(params["encoder/layers_0/mlp/wi_0/kernel"]).max() * 64**0.5
    assert 2.0 < wide < 2.3
    assert np.abs(params["encoder/layers_0/attention/key/kernel"]).max() * 64**0.5 > 3.0
    table = params["encoder/relpos_bias/rel_embedding"]
    assert 0.9 < np.abs(table).max() / (6 / (4 + 32)) ** 0.5 <= 1.0
    np.testing.assert_array_equal(params["encoder/encoder_norm/scale"], 1.0)


def test_initial_parameters_follow_from_seed_and_path_alone():
    small, large = (
        flatten_paths(init_params(model_config("tiny", num_encoder_layers=n), seed=3))
        for n in (1, 2)
    )
    for path, values in small.items():
        np.testing.assert_array_equal(values, large[path])
    layers = (large[f"encoder/layers_{n}/mlp/wo/kernel"] for n in (0, 1))
    assert not np.array_equal(*layers)
    other = init_params(model_config("tiny", num_encoder_layers=1), seed=4)
    assert not np.array_equal(
        other["token_embedder"]["embedding"], small["token_embedder/embedding"]
    )


def test_long_parameters_are_drawn_in_blocks_without_a_seam():
    values = FAN_IN_TRUNCATED.draw(np.random.default_rng(0), (100, 3000))
    assert values.shape == (100, 3000) and values.dtype == np.float32
    np.testing.assert_allclose(values.std(axis=1), 0.1, rtol=0.1)
    np.testing.assert_allclose(values.std(axis=0), 0.1, rtol=0.4)
    assert np.abs(values).max() <= 2 * 0.1 / 0.87
