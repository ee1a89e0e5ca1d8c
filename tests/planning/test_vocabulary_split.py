"""Lookup and loss over a split vocabulary, compiled: what travels, and is it still right?"""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from nmt5.core.target import tracing_for
from nmt5.model.config import model_config
from nmt5.model.layers import Embed
from nmt5.model.losses import head_cross_entropy
from nmt5.partitioning.mesh import MeshConfig, make_mesh
from nmt5.partitioning.shardings import ActivationSplit
from nmt5.planning.program_text import collectives

V, D, ROWS, LENGTH = 512, 32, 8, 12
CONFIG = model_config("tiny")


def loss(table, head, tokens, *, vocab_shards):
    hidden_BTD = jnp.tanh(Embed(CONFIG).apply({"params": {"embedding": table}}, tokens))
    targets_N = jnp.roll(tokens, 1, axis=1).reshape(-1)
    sums = head_cross_entropy(
        hidden_BTD.reshape(-1, D),
        head,
        targets_N,
        jnp.ones_like(targets_N),
        z_loss=1e-4,
        vocab_shards=vocab_shards,
        chunk_vocab=64,
    )
    return sums.loss


def test_vocabulary_is_never_gathered_and_gradients_are_those_of_one_device():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(V, D)).astype(np.float32)
    head = rng.normal(size=(D, V)).astype(np.float32)
    tokens = rng.integers(0, V, (ROWS, LENGTH)).astype(np.int32)
    expected = jax.jit(jax.value_and_grad(lambda *a: loss(*a, vocab_shards=1), argnums=(0, 1)))(
        table, head, tokens
    )

    config = MeshConfig(data=2, fsdp=2, tensor=2)
    mesh = make_mesh(config)
    at_table, at_head, at_rows = (
        NamedSharding(mesh, PartitionSpec(*spec))
        for spec in (("tensor", "fsdp"), ("fsdp", "tensor"), (("data", "fsdp"),))
    )
    step = jax.jit(
        jax.value_and_grad(lambda *a: loss(*a, vocab_shards=2), argnums=(0, 1)),
        out_shardings=(None, (at_table, at_head)),
    )
    placed = (
        jax.device_put(table, at_table),
        jax.device_put(head, at_head),
        jax.device_put(tokens, at_rows),
    )
    with tracing_for("cpu", split=ActivationSplit(mesh, config.resolved_rules())):
        compiled = step.lower(*placed).compile()
    found = compiled(*placed)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())

    gathers = [one for one in collectives(compiled.as_text()) if one.kind == "all-gather"]
    assert gathers
    for one in gathers:
        # Neither all words, nor one device's whole part of them at full width.
        assert all(V not in dims and not {V // 2, D} <= set(dims) for _, dims in one.shapes), one


def test_ids_outside_a_split_table_are_seen():
    config = MeshConfig(data=4, tensor=2)
    mesh = make_mesh(config)
    with tracing_for("cpu", split=ActivationSplit(mesh, config.resolved_rules())):
        rows = jax.jit(Embed(CONFIG).apply)(
            {"params": {"embedding": jnp.ones((V, D))}}, jnp.asarray([[0, V, V - 1, V + 7]] * 4)
        )
    assert np.isnan(np.asarray(rows))[0, :, 0].tolist() == [False, True, False, True]


@pytest.mark.parametrize("num_parts", [1, 2])
def test_lookup_alone_needs_no_mesh(num_parts):
    from nmt5.model.layers import _lookup

    table = jnp.arange(12.0).reshape(6, 2)
    tokens = jnp.asarray([[5, 0, 3]])
    found = _lookup(table, tokens, num_parts=num_parts, dtype="float32")
    np.testing.assert_array_equal(found[0], table[tokens[0]])
