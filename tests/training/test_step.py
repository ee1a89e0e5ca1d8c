"""The step's arithmetic: what is summed, what divides it, what a bad batch does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmt5.core import features
from nmt5.core.errors import ConfigError
from nmt5.model.config import model_config
from nmt5.model.network import Transformer
from nmt5.model.parameters import init_params
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.state import init_state, step_key
from nmt5.training.step import (
    LossConfig,
    StepConfig,
    batch_loss,
    check_microbatches,
    eval_step,
    loss_and_grads,
    train_step,
)

MODEL = model_config("tiny", vocab_size=128, num_encoder_layers=1, num_decoder_layers=1)
CONFIG = StepConfig(model=MODEL, optimizer=OptimizerConfig(), loss=LossConfig())


def _group(rows, inputs_length, targets_length, *, seed=0):
    """Rows of one segment each, the last one empty, the others of growing length."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(3, 128, (rows, inputs_length)).astype(np.int32)
    targets = rng.integers(3, 128, (rows, targets_length)).astype(np.int32)
    for array in (inputs, targets):
        array[-1] = 0
        for row in range(rows - 1):
            array[row, array.shape[1] - row :] = 0
    shifted = np.pad(targets, ((0, 0), (1, 0)))[:, :-1] * (targets > 0)
    return {
        features.ENCODER_INPUT_TOKENS: inputs,
        features.ENCODER_SEGMENT_IDS: (inputs > 0).astype(np.int32),
        features.DECODER_INPUT_TOKENS: shifted,
        features.DECODER_TARGET_TOKENS: targets,
        features.DECODER_SEGMENT_IDS: (targets > 0).astype(np.int32),
        features.DECODER_LOSS_WEIGHTS: (targets > 0).astype(np.int32),
    }


BATCH = {"long": _group(8, 16, 6, seed=1), "short": _group(8, 8, 8, seed=2)}


@pytest.fixture(scope="module")
def state():
    params = init_params(MODEL, seed=0)
    return jax.jit(lambda p: init_state(p, optimizer=CONFIG.optimizer))(params)


@pytest.fixture(scope="module")
def step():
    return jax.jit(functools.partial(train_step, config=CONFIG))


def _plain_loss(params, group):
    """Loss, target tokens and right ones from whole logits, with optax's cross-entropy."""
    logits = jax.jit(Transformer(MODEL).apply)(
        {"params": params},
        group[features.ENCODER_INPUT_TOKENS],
        group[features.DECODER_INPUT_TOKENS],
        group[features.DECODER_TARGET_TOKENS],
    )
    targets = group[features.DECODER_TARGET_TOKENS]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    losses += 1e-4 * jax.nn.logsumexp(logits, axis=-1) ** 2
    is_real = targets > 0
    correct = (logits.argmax(-1) == targets) & is_real
    return jnp.sum(losses * is_real), int(is_real.sum()), int(correct.sum())


def test_loss_is_summed_over_groups_and_divided_by_all_their_targets(state, step):
    after, metrics = step(state, BATCH)
    sums = {name: _plain_loss(state.params, group) for name, group in BATCH.items()}
    tokens = sum(count for _, count, _ in sums.values())
    expected = sum(loss for loss, _, _ in sums.values()) / tokens
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    for name, (loss, count, correct) in sums.items():
        found = metrics["objectives"][name]
        np.testing.assert_allclose(found.loss, loss, rtol=1e-5)
        assert (int(found.weight), int(found.correct)) == (count, correct)
        inputs = BATCH[name][features.ENCODER_INPUT_TOKENS]
        assert int(metrics["encoder_tokens"][name]) == np.count_nonzero(inputs)
    assert int(after.step) == 1
    assert int(after.skipped_steps) == int(metrics["skipped"]) == 0
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), after.params, state.params)
    assert all(jax.tree.leaves(moved))


def test_gradient_norm(state, step):
    grads = jax.jit(jax.grad(lambda p: batch_loss(p, BATCH, config=CONFIG)[0]))(state.params)
    expected = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(step(state, BATCH)[1]["grad_norm"], expected, rtol=1e-5)


def test_constant_normalising_factor(state):
    constant = dataclasses.replace(CONFIG, loss=LossConfig(normalizing_factor=10.0))
    loss, sums = jax.jit(functools.partial(batch_loss, config=constant))(state.params, BATCH)
    np.testing.assert_allclose(loss, sum(part.loss for part in sums.values()) / 10, rtol=1e-6)


def test_bad_numbers_skip_the_update_and_are_counted(state, step):
    scale = state.params["decoder"]["decoder_norm"]["scale"]
    broken = jax.tree.map(lambda x: x, state.params)
    broken["decoder"]["decoder_norm"]["scale"] = scale.at[3].set(jnp.nan)
    before = dataclasses.replace(state, params=broken)
    after, metrics = step(before, BATCH)
    assert int(metrics["skipped"]) == int(after.skipped_steps) == 1
    assert int(after.step) == 1
    for one, other in zip(
        jax.tree.leaves((after.params, after.optimizer)),
        jax.tree.leaves((before.params, before.optimizer)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    again, metrics = step(dataclasses.replace(after, params=state.params), BATCH)
    assert (int(metrics["skipped"]), int(again.skipped_steps)) == (0, 1)


def test_a_batch_of_padding_only_changes_nothing_but_the_step(state, step):
    """Its gradient is 0; the loss is not 0 / 0."""
    empty = jax.tree.map(np.zeros_like, BATCH)
    after, metrics = step(state, empty)
    assert float(metrics["loss"]) == 0
    assert int(metrics["skipped"]) == 0
    embedding = after.params["token_embedder"]["embedding"]
    np.testing.assert_array_equal(embedding, state.params["token_embedder"]["embedding"])


def test_sharded_over_eight_devices_equals_one(state, step):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    one, metrics = step(state, BATCH)
    many, many_metrics = step(jax.device_put(state, whole), jax.device_put(BATCH, rows))
    np.testing.assert_allclose(metrics["loss"], many_metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], many_metrics["grad_norm"], rtol=1e-4)
    kernel = one.optimizer["v"]["encoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    many_kernel = many.optimizer["v"]["encoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    np.testing.assert_allclose(kernel, many_kernel, rtol=1e-3, atol=1e-12)


def test_held_out_loss_has_no_z_loss_no_smoothing_no_dropout(state):
    noisy = dataclasses.replace(
        CONFIG,
        model=dataclasses.replace(MODEL, dropout_rate=0.5),
        loss=LossConfig(z_loss=0.1, label_smoothing=0.2),
    )
    plain = dataclasses.replace(CONFIG, loss=LossConfig(z_loss=0.0))
    found, expected = (
        jax.jit(functools.partial(eval_step, config=config))(state.params, BATCH["short"])
        for config in (noisy, plain)
    )
    np.testing.assert_array_equal(found.loss, expected.loss)
    assert float(found.z_loss) == 0


def test_dropout_follows_seed_and_step(state):
    noisy = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, dropout_rate=0.3))

    @jax.jit
    def loss_of(seed, step):
        key = step_key(seed, step)
        batch = {"short": BATCH["short"]}
        return batch_loss(state.params, batch, config=noisy, dropout_key=key)[0]

    def loss(seed, step):
        return float(loss_of(seed, step))

    assert loss(0, 5) == loss(0, 5)
    assert len({loss(0, 5), loss(0, 6), loss(1, 5)}) == 3


def test_config_faults():
    with pytest.raises(ConfigError, match="label_smoothing 1.0"):
        LossConfig(label_smoothing=1.0)
    with pytest.raises(ConfigError, match="normalizing_factor is 0"):
        LossConfig(normalizing_factor=0)


@pytest.mark.parametrize(("microbatches", "factor"), [(2, 100.0), (4, None)])
@pytest.mark.slow
def test_a_batch_in_parts_gives_the_same_update(state, microbatches, factor):
    """To a millionth of each array's largest value: elements near 0 are sums that cancel.

    Products of fewer rows round otherwise on some CPUs, which shows most in position biases (their
    gradients cancel). So gradients may also differ by twice what they do when empty rows are added
    to the whole batch, which changes the products' shapes and nothing else.

    The last rows of each group are empty, so the parts have different numbers of targets.
    """
    loss = LossConfig(normalizing_factor=factor, label_smoothing=0.1)
    whole_config = dataclasses.replace(CONFIG, loss=loss)
    config = dataclasses.replace(whole_config, microbatches=microbatches, row_shards=2)

    def results(config):
        gradient = jax.jit(functools.partial(loss_and_grads, config=config))
        step = jax.jit(functools.partial(train_step, config=config))

        def of(batch):
            (loss, _), grads = gradient(state.params, batch)
            new, metrics = step(state, batch)
            # The optimizer's slots are means of squares, whose error is twice as large.
            slots = jax.tree.map(lambda x: np.sqrt(np.abs(x)), new.optimizer)
            return {"loss": loss, "grads": grads, "params": new.params, "slots": slots} | metrics

        return of

    def assert_equal(path, part, whole, longer):
        bound = 1e-6 * np.abs(whole).max()
        if path[0].key in ("grads", "slots"):
            bound = max(bound, 2 * np.abs(longer - whole).max())
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(part, whole, rtol=0, atol=bound, err_msg=name)

    whole = results(whole_config)
    longer = whole(jax.tree.map(lambda rows: np.pad(rows, ((0, len(rows)), (0, 0))), BATCH))
    jax.tree.map_with_path(assert_equal, results(config)(BATCH), whole(BATCH), longer)


@pytest.mark.slow
def test_parts_need_less_memory_and_the_state_is_donated(state):
    def memory(microbatches):
        config = dataclasses.replace(CONFIG, microbatches=microbatches)
        step = jax.jit(functools.partial(train_step, config=config), donate_argnums=0)
        return step.lower(state, BATCH).compile().memory_analysis()

    one, four = memory(1), memory(4)
    assert four.temp_size_in_bytes < 0.6 * one.temp_size_in_bytes
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    for found in (one, four):
        assert found.alias_size_in_bytes >= 0.95 * state_bytes


@pytest.mark.slow
def test_each_part_has_noise_of_its_own(state):
    """Rows that are alike get the same loss in each part without dropout, another one with it."""
    group = {name: np.repeat(rows[:1], 4, axis=0) for name, rows in BATCH["long"].items()}
    noisy = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, dropout_rate=0.3))
    losses = {}
    for microbatches in (1, 4):
        config = dataclasses.replace(noisy, microbatches=microbatches)
        step = jax.jit(functools.partial(train_step, config=config))
        losses[microbatches] = [float(step(state, {"long": group})[1]["loss"]) for _ in range(2)]
    assert losses[4][0] == losses[4][1]
    assert losses[1][0] != losses[4][0]


def test_rows_that_cannot_be_divided_are_named():
    rows = {"span_corruption": 24, "nmt": 8}
    check_microbatches(rows, microbatches=2, row_shards=4)
    with pytest.raises(ConfigError) as found:
        check_microbatches(rows, microbatches=4, row_shards=4)
    assert str(found.value) == (
        "TrainConfig.microbatches is 4: with 4 data-parallel parts the rows of a batch must be "
        "multiples of 16, found 'span_corruption' 24, 'nmt' 8; possible here: 1, 2; or change "
        "DataConfig.encoder_tokens_per_batch"
    )
