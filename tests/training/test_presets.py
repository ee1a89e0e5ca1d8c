"""Every preset of partitioning rules trains as one device does: the same step, other meshes."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from nmt5.checkpoints.manager import CheckpointConfig
from nmt5.core import features
from nmt5.core.errors import ConfigError
from nmt5.core.pytrees import flatten_paths
from nmt5.data.layout import DataConfig
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds
from nmt5.model.config import model_config
from nmt5.model.parameters import init_params
from nmt5.partitioning.mesh import MeshConfig
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.run_config import RunConfig, TrainConfig
from nmt5.training.state import init_state
from nmt5.training.step import LossConfig
from nmt5.training.step_program import step_program

MESHES = {
    "data_parallel": {"data": 4, "fsdp": 2},
    "fully_sharded": {"data": 2, "fsdp": 4},
    "tensor_1d": {"data": 2, "tensor": 4},
    "tensor_2d": {"data": 2, "fsdp": 2, "tensor": 2},
    "mixed": {"data": 2, "fsdp": 2, "tensor": 2},
}
STEPS = 5


def _group(objective, languages, share):
    task = TaskSpec(name=objective, corpus=objective, languages=languages, rate=1.0)
    return GroupSpec(objective=objective, settings={}, share=share, tasks=(task,))


def _mixture(*groups):
    ids = TokenIds(size=256, num_sentinels=20, fingerprint="f" * 64)
    return Mixture(name="toy", vocabulary=ids, groups=groups)


# One row shape keeps compilation short; `mixed` has both.
PAIRS = _mixture(_group("nmt", ("en", "fr"), 1.0))
MIXTURE = _mixture(_group("span_corruption", ("en",), 0.5), _group("nmt", ("en", "fr"), 0.5))


def run_config(mesh, *, microbatches=1, **model):
    fields = {"vocab_size": 256, "num_encoder_layers": 2, "num_decoder_layers": 2} | model
    return RunConfig(
        train=TrainConfig(run_dir="-", train_steps=STEPS, microbatches=microbatches),
        model=model_config("tiny", **fields),
        data=DataConfig(mixture="toy", store="-", inputs_length=16, encoder_tokens_per_batch=256),
        optimizer=OptimizerConfig(
            schedule="constant", learning_rate=0.02, min_dim_size_to_factor=16
        ),
        loss=LossConfig(),
        mesh=mesh,
        checkpoint=CheckpointConfig(),
    )


def batches(program):
    """The same rows whatever the mesh: the layouts of 1 and 8 devices agree here."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        yield {
            objective: {
                name: (
                    np.ones(shape.shape, np.int32)
                    if name in (features.ENCODER_SEGMENT_IDS, features.DECODER_SEGMENT_IDS)
                    or name == features.DECODER_LOSS_WEIGHTS
                    else rng.integers(2, 256, shape.shape).astype(np.int32)
                )
                for name, shape in group.items()
            }
            for objective, group in program.batch().items()
        }


@functools.cache
def initial_state():
    config = run_config(MeshConfig())
    params = init_params(config.model, seed=0)
    return jax.device_get(init_state(params, optimizer=config.optimizer))


def train(config, *, num_devices, mixture):
    program = step_program(config, mixture, devices=jax.devices()[:num_devices])
    rows = {"span_corruption": 8, "nmt": 16} if mixture is MIXTURE else {"nmt": 32}
    assert {name: row.rows for name, row in program.layout.items()} == rows
    state = jax.device_put(initial_state(), program.state_shardings)
    step, losses = program.lower().compile(), []
    for batch in batches(program):
        placed = jax.tree.map(lambda x: jax.device_put(x, program.rows_sharding), batch)
        state, metrics = step(state, placed)
        losses.append(float(metrics["loss"]))
    return losses, flatten_paths(jax.device_get(state.params))


@functools.cache
def on_one_device(num_objectives):
    mixture = MIXTURE if num_objectives == 2 else PAIRS
    return train(run_config(MeshConfig()), num_devices=1, mixture=mixture)


FORMS = {
    "scanned_remat": {"scan_layers": True, "remat": "full"},
    "accumulated": {"scan_layers": True, "remat": "full", "microbatches": 2},
    "plain": {},
    "remat": {"remat": "minimal"},
    "scanned": {"scan_layers": True},
}


# A compilation for eight devices each: one for every day, the others with the slow tests.
FAST = {("tensor_2d", "scanned_remat")}


@pytest.mark.parametrize(
    ("preset", "form"),
    [
        pytest.param(preset, form, marks=() if (preset, form) in FAST else pytest.mark.slow)
        for form in FORMS
        for preset in MESHES
    ],
)
def test_preset_equals_one_device(preset, form):
    mesh = MeshConfig(preset=preset, **({"data": 1} | MESHES[preset]))
    mixture = MIXTURE if preset == "mixed" else PAIRS
    losses, params = train(run_config(mesh, **FORMS[form]), num_devices=8, mixture=mixture)
    expected_losses, expected = on_one_device(len(mixture.groups))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for path, value in expected.items():
        bound = 1e-5 * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(params[path], value, rtol=0, atol=bound, err_msg=path)


def test_heads_are_not_cut():
    with pytest.raises(ConfigError, match="4 heads over 8 devices"):
        step_program(run_config(MeshConfig(data=1, tensor=8)), MIXTURE)


def test_idle_axis_is_refused():
    with pytest.raises(ConfigError, match=r"split nothing over mesh axis 'tensor' \(2\)"):
        step_program(run_config(MeshConfig(tensor=2, preset="fully_sharded")), MIXTURE)


def test_rows_are_a_multiple_of_the_data_axes():
    mesh = MeshConfig(data=4, fsdp=2)
    config = run_config(mesh)
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, encoder_tokens_per_batch=300)
    )
    program = step_program(config, MIXTURE)
    assert program.rows_multiple == 8
    assert all(row.rows % 8 == 0 for row in program.layout.values())
