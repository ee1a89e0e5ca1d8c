import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmt5.core.errors import ConfigError
from nmt5.core.pytrees import flatten_paths, unflatten_paths
from nmt5.model.config import model_config
from nmt5.model.losses import head_cross_entropy
from nmt5.model.network import Transformer
from nmt5.model.parameters import (
    head_layout,
    head_scale,
    init_params,
    output_head,
    param_axes,
    param_shapes,
)
from nmt5.partitioning.mesh import MeshConfig, make_mesh
from nmt5.partitioning.shardings import (
    batch_sharding,
    describe,
    param_shardings,
    rows_multiple,
    shard_tree,
    tree_shardings,
)

CONFIG = model_config("tiny", num_encoder_layers=1, num_decoder_layers=1)
TIED = model_config(
    "tiny", num_encoder_layers=1, num_decoder_layers=1, logits_via_embedding=True,
    relative_bias="per_layer",
)  # fmt: skip


def shardings_of(config, mesh):
    return param_shardings(mesh, shapes=param_shapes(config), logical_axes=param_axes(config))


def batch(rows=8):
    keys = jax.random.split(jax.random.key(1), 2)
    inputs = jax.random.randint(keys[0], (rows, 12), 1, 512).at[0, 9:].set(0)
    targets = jax.random.randint(keys[1], (rows, 6), 1, 512).at[1, 4:].set(0)
    return {"inputs": inputs, "targets": targets}


def loss(params, batch, *, config, vocab_shards=1):
    targets = batch["targets"]
    shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    hidden_BTD = Transformer(config).apply(
        {"params": params}, batch["inputs"], shifted, targets, method="hidden_states"
    )
    return head_cross_entropy(
        hidden_BTD.reshape(-1, config.emb_dim),
        output_head(params, config),
        targets.reshape(-1),
        targets.reshape(-1) > 0,
        z_loss=1e-4,
        layout=head_layout(config),
        logit_scale=head_scale(config),
        vocab_shards=vocab_shards,
        chunk_vocab=96,
    ).objective


@functools.cache
def on_one_device(config):
    params = init_params(config, seed=0)
    step = jax.jit(jax.value_and_grad(functools.partial(loss, config=config)))
    return params, step(params, batch())


@pytest.mark.parametrize(
    ("config", "mesh_config"),
    [
        pytest.param(CONFIG, MeshConfig(), marks=pytest.mark.slow),
        (CONFIG, MeshConfig(data=1, fsdp=8)),
        (CONFIG, MeshConfig(data=2, tensor=4)),
        (CONFIG, MeshConfig(data=2, fsdp=2, tensor=2)),
        pytest.param(TIED, MeshConfig(data=2, fsdp=2, tensor=2), marks=pytest.mark.slow),
    ],
    ids=["data", "fsdp", "tensor", "mixed", "mixed_tied"],
)
def test_sharded_loss_and_gradients_equal_one_device(config, mesh_config):
    params, (expected_loss, expected_grads) = on_one_device(config)
    mesh = make_mesh(mesh_config)
    shardings = shardings_of(config, mesh)
    sharded = shard_tree(mesh, params, shardings)
    rows = jax.device_put(batch(), batch_sharding(mesh))
    vocab_shards = mesh.shape["tensor"]
    out = tree_shardings(mesh, params, params=shardings, shapes=param_shapes(config))
    step = jax.jit(
        jax.value_and_grad(functools.partial(loss, config=config, vocab_shards=vocab_shards)),
        out_shardings=(None, out),
    )
    value, grads = step(sharded, rows)
    np.testing.assert_allclose(value, expected_loss, rtol=1e-5)
    grads, expected_grads = flatten_paths(grads), flatten_paths(expected_grads)
    for path, expected in expected_grads.items():
        assert grads[path].sharding.is_equivalent_to(shardings[path], expected.ndim), path
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(grads[path], expected, rtol=0, atol=bound, err_msg=path)


def test_every_device_holds_its_part_only():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    params = shard_tree(mesh, init_params(CONFIG, seed=0), shardings_of(CONFIG, mesh))
    kernel = params["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (16, 32)
    assert rows_multiple(mesh) == 4


def test_resolved_table():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    table = describe(shardings_of(CONFIG, mesh), param_shapes(CONFIG)).splitlines()
    assert "token_embedder/embedding (512, 32) ('tensor', 'fsdp')" in table
    assert "decoder/logits_dense/kernel (32, 512) ('fsdp', 'tensor')" in table
    assert "decoder/layers_0/self_attention/out/kernel (32, 32) ('tensor', 'fsdp')" in table
    assert "encoder/encoder_norm/scale (32,) ('fsdp',)" in table
    assert "encoder/relpos_bias/rel_embedding (4, 32) (None, None)" in table


def test_dimensions_that_do_not_divide_are_listed():
    config = model_config("tiny", mlp_dim=66)
    with pytest.raises(ConfigError) as error:
        shardings_of(config, make_mesh(MeshConfig(data=2, tensor=4)))
    message = str(error.value)
    assert "'decoder/layers_0/mlp/wi_0/kernel' (32, 66): 'mlp' (66) over 4 of tensor" in message
    assert message.startswith("partitioning: mesh {'data': 2, 'fsdp': 1, 'tensor': 4}")
    assert "and 7 more" in message


def test_optimizer_slots_follow_their_parameters():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    shapes, shardings = param_shapes(CONFIG), shardings_of(CONFIG, mesh)
    params = unflatten_paths(param_shapes(CONFIG))
    optimizer = optax.adafactor(1e-3, min_dim_size_to_factor=16)
    state = {"params": params, "optimizer": jax.eval_shape(optimizer.init, params)}
    resolved = tree_shardings(mesh, state, params=shardings, shapes=shapes)
    specs = {}
    for path, sharding in jax.tree_util.tree_leaves_with_path(resolved):
        specs[jax.tree_util.keystr(path)] = tuple(sharding.spec)

    def of(*words):
        (found,) = [s for path, s in specs.items() if all(word in path for word in words)]
        return found

    assert of("['params']", "wi_0", "encoder", "layers_0") == ("fsdp", "tensor")
    assert of("v_row", "wi_0", "encoder", "layers_0") in (("fsdp",), ("tensor",))
    assert of("v_col", "wi_0", "encoder", "layers_0") in (("fsdp",), ("tensor",))
    assert of("v_row", "wi_0", "encoder") != of("v_col", "wi_0", "encoder")
    assert of("v_row", "'token_embedder'") == ("fsdp",)
    assert of("v_col", "'token_embedder'") == ("tensor",)
    # Square: either dimension could be meant, so the slot is on every device.
    assert of("v_row", "query", "['attention']", "layers_0") == ()
    assert of(".v[", "encoder_norm") == ("fsdp",)


def test_slots_named_below_the_parameter():
    """T5X's optimizer state: <parameter path>/v_row."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    shapes, shardings = param_shapes(CONFIG), shardings_of(CONFIG, mesh)
    state = {"token_embedder": {"embedding": {"v_row": jnp.zeros(32), "v_col": jnp.zeros(512)}}}
    resolved = tree_shardings(mesh, state, params=shardings, shapes=shapes)
    slots = resolved["token_embedder"]["embedding"]
    assert tuple(slots["v_row"].spec) == ("fsdp",)
    assert tuple(slots["v_col"].spec) == ("tensor",)
