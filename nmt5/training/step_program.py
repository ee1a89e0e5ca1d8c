"""The train step of a run as one program: which shapes, on which devices, from the run's settings.

`nmt5 train` compiles it for the devices that are there, `nmt5 plan` for devices that are not.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools

import jax
import numpy as np

from nmt5.core import axes
from nmt5.core.errors import ConfigError
from nmt5.core.pytrees import unflatten_paths
from nmt5.core.target import tracing_for
from nmt5.data.layout import RowLayout, plan_layout
from nmt5.data.mixture import Mixture
from nmt5.model.attention_tpu import has_vector_memory
from nmt5.model.config import ModelConfig
from nmt5.model.parameters import param_axes, param_shapes
from nmt5.partitioning.mesh import make_mesh
from nmt5.partitioning.rules import MeshAxes
from nmt5.partitioning.shardings import (
    ActivationSplit,
    batch_sharding,
    check_mesh,
    num_parts,
    param_shardings,
    rows_multiple,
)
from nmt5.training.optimizer import optimizer_shardings
from nmt5.training.run_config import RunConfig
from nmt5.training.start import abstract_state
from nmt5.training.state import TrainState
from nmt5.training.step import FEATURES, StepConfig, check_microbatches, train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepProgram:
    """The step of one run on one mesh.

    Attributes:
      mesh: the devices.
      layout: rows and lengths per objective.
      rules: logical axis -> mesh axes.
      config: what the step depends on.
      state: shape, dtype and sharding of every leaf of the state.
      rows_sharding: of batch arrays (rows, length).
      rows_multiple: number of parts that the rows are split into.
    """

    mesh: jax.sharding.Mesh
    layout: Mapping[str, RowLayout]
    rules: Mapping[str, MeshAxes]
    config: StepConfig
    state: TrainState
    rows_sharding: jax.sharding.NamedSharding
    rows_multiple: int

    @property
    def state_shardings(self) -> TrainState:
        """A sharding at every leaf of the state."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.state)

    @property
    def replicated(self) -> jax.sharding.NamedSharding:
        """The sharding of what every device holds whole."""
        return jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())

    def batch(self) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
        """Returns shape, dtype and sharding of every array of a batch."""

        def rows(row, name):
            length = row.inputs_length if name.startswith("encoder") else row.targets_length
            return jax.ShapeDtypeStruct((row.rows, length), np.int32, sharding=self.rows_sharding)

        return {
            objective: {name: rows(row, name) for name in FEATURES}
            for objective, row in self.layout.items()
        }

    def lower(self) -> jax.stages.Lowered:
        """Traces the step for the devices of the mesh; `.compile()` makes it ready to run."""
        step = jax.jit(
            functools.partial(train_step, config=self.config),
            out_shardings=(self.state_shardings, self.replicated),
            donate_argnums=0,
        )
        with self.tracing():
            return step.lower(self.state, self.batch())

    def tracing(self) -> contextlib.AbstractContextManager[None]:
        """What is traced inside is for these devices: its activations lie as the rules say."""
        split = ActivationSplit(self.mesh, self.rules)
        return tracing_for(self.mesh.devices.flat[0].platform, split=split)


def step_program(
    config: RunConfig, mixture: Mixture, *, devices: Sequence[jax.Device] | None = None
) -> StepProgram:
    """Returns the step of a run; nothing is compiled or allocated.

    Args:
      config: the settings.
      mixture: the resolved mixture; only its objectives and their shares matter here.
      devices: all devices of the mesh; None for those of this machine or cluster.

    Raises:
      ConfigError: a mesh, a layout, parameters or an attention that do not fit the devices.
    """
    mesh = make_mesh(config.mesh, devices=devices)
    rules = config.mesh.resolved_rules()
    _check_attention(config.model, mesh.devices.flat[0])
    check_mesh(mesh, num_heads=config.model.num_heads, rules=rules)
    multiple = rows_multiple(mesh, rules=rules)
    layout = plan_layout(mixture, config.data, rows_multiple=multiple)
    check_microbatches(
        {name: row.rows for name, row in layout.items()},
        microbatches=config.train.microbatches,
        row_shards=multiple,
    )
    shardings = state_shardings(mesh, config)
    return StepProgram(
        mesh=mesh,
        layout=layout,
        rules=rules,
        config=StepConfig(
            model=config.model,
            optimizer=config.optimizer,
            loss=config.loss,
            seed=config.train.seed,
            vocab_shards=num_parts(mesh, rules[axes.VOCAB]),
            microbatches=config.train.microbatches,
            row_shards=multiple,
        ),
        state=jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract_state(config.model, optimizer=config.optimizer),
            shardings,
        ),
        rows_sharding=batch_sharding(mesh, rules=rules),
        rows_multiple=multiple,
    )


def _check_attention(model: ModelConfig, device: jax.Device) -> None:
    backend, fault = model.attention_backend, None
    if backend == "pallas" and not has_vector_memory(device.device_kind):
        fault = "is for TPU v5e, v5p and later"
    elif backend == "cudnn" and (device.platform != "gpu" or model.dtype != "bfloat16"):
        fault = "is for NVIDIA GPUs and model_config.dtype 'bfloat16'"
    if fault:
        raise ConfigError(
            f"model_config.attention_backend '{backend}' {fault}; this run has devices of kind "
            f"'{device.device_kind}' and dtype '{model.dtype}'; choose 'auto' or 'xla'"
        )


def state_shardings(mesh: jax.sharding.Mesh, config: RunConfig) -> TrainState:
    """Returns a sharding for every leaf of the train state.

    Raises:
      ConfigError: dimensions that the mesh does not divide; all are listed.
    """
    shapes = param_shapes(config.model)
    params = unflatten_paths(
        param_shardings(
            mesh,
            shapes=shapes,
            logical_axes=param_axes(config.model),
            rules=config.mesh.resolved_rules(),
        )
    )
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return TrainState(
        step=replicated,
        skipped_steps=replicated,
        params=params,
        optimizer=optimizer_shardings(
            unflatten_paths(shapes), params, config=config.optimizer, replicated=replicated
        ),
    )
