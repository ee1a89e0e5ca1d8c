"""The plan of a run: its real train step compiled for devices that need not be there.

Memory is the compiler's own account, collectives come from the compiled program's text, operations
from the model's formula (XLA's count takes a loop's body once). The time is a bound, not a
forecast: the slowest of arithmetic, main memory and communication, as if they overlapped perfectly.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import time
from typing import Any

import jax

from nmt5.data.layout import RowLayout
from nmt5.data.mixture import Mixture
from nmt5.model.config import REMAT_FULL, REMAT_NONE
from nmt5.planning.buffers import compile_buffers, compile_whole
from nmt5.planning.hardware import hardware_of
from nmt5.planning.memory_traffic import moved_bytes
from nmt5.planning.program_text import Collective, collectives
from nmt5.planning.topologies import GIB, Topology, topology_devices
from nmt5.training.flops import train_flops
from nmt5.training.run_config import RunConfig
from nmt5.training.step_program import step_program

_RESERVED_BYTES = 0.5 * GIB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device.

    Attributes:
      parameters: float32 parameters.
      optimizer: its slots and the counters.
      batch: the rows.
      kept: inputs of layers that the forward pass keeps for the backward pass; None where the
        rematerialisation policy leaves the choice to XLA. Part of `temporaries`.
      temporaries: all that the compiler allocates besides arguments; None where it gave up for lack
        of memory.
      code: of the program itself, part of temporaries; None where no machine code was generated.
      total: what must fit.
      available: the device's memory; None where it is not known.
      reserved: of that, what is kept free: where no machine code was generated, for it and for what
        the runtime takes (v5e's compiler gives programs 15.75 of 16 GiB).
    """

    parameters: float
    optimizer: float
    batch: float
    kept: float | None
    temporaries: float | None
    code: float | None
    total: float
    available: float | None
    reserved: float = 0.0

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None where the device's memory is not known."""
        if self.temporaries is None:
            return False
        if self.available is None:
            return None
        return self.total + self.reserved <= self.available


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is known of a run before it begins.

    Attributes:
      target: the pod, or None for the local devices.
      device_kind: as JAX calls one device.
      mesh: sizes of the mesh's axes.
      layout: rows and lengths per objective.
      memory: of one device.
      model_flops: operations of a step by the formula, over all devices.
      recomputed_flops: those that rematerialisation adds.
      moved_bytes: what one device reads from and writes to its main memory; None where the program
        did not fit.
      collectives: of one step; empty where the program did not fit.
      peak_flops_per_second: of all devices; None where unknown.
      link_bytes_per_second: of one device; None where unknown.
      memory_bytes_per_second: of one device; None where unknown.
      compile_seconds: how long the compilation took here.
    """

    target: Topology | None
    device_kind: str
    mesh: Mapping[str, int]
    layout: Mapping[str, RowLayout]
    memory: Memory
    model_flops: float
    recomputed_flops: float
    moved_bytes: float | None
    collectives: Sequence[Collective]
    peak_flops_per_second: float | None
    link_bytes_per_second: float | None
    memory_bytes_per_second: float | None
    compile_seconds: float

    @property
    def num_devices(self) -> int:
        """Devices of the mesh."""
        return math.prod(self.mesh.values())

    @property
    def positions(self) -> int:
        """Encoder and decoder positions of a step, padding counted."""
        return sum(
            row.rows * (row.inputs_length + row.targets_length) for row in self.layout.values()
        )

    @property
    def encoder_positions(self) -> int:
        """Encoder positions of a step."""
        return sum(row.rows * row.inputs_length for row in self.layout.values())

    @property
    def compute_seconds(self) -> float | None:
        """Time of the arithmetic of a step at the devices' peak, recomputation included."""
        if self.peak_flops_per_second is None:
            return None
        return (self.model_flops + self.recomputed_flops) / self.peak_flops_per_second

    @property
    def sent_bytes(self) -> float:
        """Bytes that one device sends in a step."""
        return sum(one.sent_bytes for one in self.collectives)

    @property
    def communication_seconds(self) -> float | None:
        """Time of the collectives of a step, one after the other, over one axis of the torus."""
        if self.link_bytes_per_second is None:
            return None
        return self.sent_bytes / self.link_bytes_per_second

    @property
    def memory_seconds(self) -> float | None:
        """Time of a step's traffic with the main memory."""
        if self.memory_bytes_per_second is None or self.moved_bytes is None:
            return None
        return self.moved_bytes / self.memory_bytes_per_second

    @property
    def roofline_seconds(self) -> float | None:
        """The bound: arithmetic, main memory or communication, whichever is longest."""
        times = self.compute_seconds, self.memory_seconds, self.communication_seconds
        known = [t for t in times if t is not None]
        return max(known) if known else None

    @property
    def roofline_utilisation(self) -> float | None:
        """The part of the peak that the model's own operations are at the bound."""
        if self.peak_flops_per_second is None or not self.roofline_seconds:
            return None
        return self.model_flops / self.peak_flops_per_second / self.roofline_seconds

    def step_seconds(self, utilisation: float) -> float | None:
        """Returns the time of a step if the model's operations reach that part of the peak."""
        if self.peak_flops_per_second is None:
            return None
        return self.model_flops / self.peak_flops_per_second / utilisation


def make_plan(
    config: RunConfig, mixture: Mixture, *, topology: Topology | None = None, whole: bool = False
) -> RunPlan:
    """Compiles the step of a run and reads off what it needs.

    Args:
      config: the settings.
      mixture: its objectives and shares decide the rows.
      topology: the pod; None for the local devices.
      whole: generates a pod's machine code too, for its size alone: ten times the work or more.

    Raises:
      ConfigError: settings that do not fit the devices; before anything is compiled.
    """
    devices = None if topology is None else topology_devices(topology)
    hardware = hardware_of(topology)
    program = step_program(config, mixture, devices=devices)
    kind = program.mesh.devices.flat[0].device_kind
    started = time.monotonic()
    if topology is None or whole:
        step = compile_whole(program)
    else:
        step = compile_buffers(config, mixture, topology)
    parameters = _device_bytes(program.state.params)
    optimizer = _device_bytes((program.state.optimizer, program.state.skipped_steps))
    batch = _device_bytes(program.batch())
    temporaries = None
    if step.text is not None:
        temporaries = step.total_bytes - parameters - optimizer - batch
    return RunPlan(
        target=topology,
        device_kind=kind,
        mesh=dict(program.mesh.shape),
        layout=program.layout,
        memory=Memory(
            parameters=parameters,
            optimizer=optimizer,
            batch=batch,
            kept=kept_bytes(config, program.layout, program.rows_multiple),
            temporaries=temporaries,
            total=step.total_bytes,
            code=step.code_bytes,
            available=hardware.memory_bytes,
            reserved=0.0 if topology is None or whole else _RESERVED_BYTES,
        ),
        model_flops=train_flops(config.model, program.layout),
        recomputed_flops=recomputed_flops(config, program.layout),
        moved_bytes=None if step.text is None else moved_bytes(step.text),
        collectives=[] if step.text is None else collectives(step.text),
        peak_flops_per_second=(
            None
            if hardware.flops_per_second is None
            else hardware.flops_per_second * hardware.num_devices
        ),
        link_bytes_per_second=hardware.link_bytes_per_second,
        memory_bytes_per_second=hardware.memory_bytes_per_second,
        compile_seconds=time.monotonic() - started,
    )


def _device_bytes(tree: Any) -> float:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def kept_bytes(config: RunConfig, layout: Mapping[str, RowLayout], parts: int) -> float | None:
    """Returns the bytes of layer inputs that one device keeps; None unless remat is "full".

    Args:
      config: the settings.
      layout: rows and lengths.
      parts: into how many parts the rows are split.
    """
    model = config.model
    if model.remat != REMAT_FULL:
        return None
    width = model.emb_dim * (2 if model.dtype == "bfloat16" else 4)
    return sum(
        row.rows
        / parts
        / config.train.microbatches
        * (
            row.inputs_length * model.num_encoder_layers
            + row.targets_length * model.num_decoder_layers
        )
        * width
        for row in layout.values()
    )


def recomputed_flops(config: RunConfig, layout: Mapping[str, RowLayout]) -> float:
    """Returns the operations that are done twice: layers again, and the head's logits again."""
    model = config.model
    forward = train_flops(model, layout) / 3
    head = 2 * model.emb_dim * model.vocab_size
    head *= sum(row.rows * row.targets_length for row in layout.values())
    # The loss computes its logits again in any case; `minimal` repeats attention, a small part.
    return head + (forward - head if model.remat not in (REMAT_NONE, "minimal") else 0.0)


def gib(size: float) -> str:
    """Returns bytes as GiB for people."""
    return f"{size / GIB:.2f}"
