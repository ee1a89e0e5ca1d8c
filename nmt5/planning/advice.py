"""Memory of a run estimated without compiling it, and meshes ranked by it.

    parameters and slots     exact, from their shardings
    gradients                as large as the parameters, float32
    stacked layers           one more copy of the layers in the activation dtype (scanned)
    kept activations         layer inputs, if rematerialised in full; else about 34 + 5 a T / D
                             times a layer input (Korthikanti et al., arXiv 2205.05198, per layer)
    one layer at work        its attention scores (about 3 copies) and widest projections
    loss                     its chunks of logits, and hidden states

Held against the compiler only once: mT5-XXL on v5p:4x4x8, 2 x 16 x 4, is estimated at 18.6 GiB, and
its buffers take 13.3. Use it to choose, and `nmt5 plan` to know.
"""

from collections.abc import Iterator
import dataclasses
import functools
import math

from nmt5.core import axes
from nmt5.core.errors import ConfigError
from nmt5.data.layout import plan_layout
from nmt5.data.mixture import Mixture
from nmt5.model.config import REMAT_FULL
from nmt5.model.parameters import num_params
from nmt5.partitioning.rules import axes_of
from nmt5.planning.plan import RunPlan, gib, recomputed_flops
from nmt5.planning.topologies import Topology
from nmt5.training.flops import train_flops
from nmt5.training.run_config import RunConfig

_LOSS_BYTES = 2 * 256 * 2**20
# The compiler's and the runtime's own, and what the estimate may miss.
_MARGIN = 1.15
_CODE_BYTES = 0.2 * 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a mesh would need, without compiling.

    Attributes:
      mesh: (data, fsdp, tensor).
      total_bytes: memory of one device.
      seconds: arithmetic at 50% of the peak plus communication, one after the other.
      encoder_positions: of a step; rows are whole multiples.
    """

    mesh: tuple[int, int, int]
    total_bytes: float
    seconds: float
    encoder_positions: int


def estimate(
    config: RunConfig,
    rows: list[tuple[int, int, int]],
    mesh: tuple[int, int, int],
    *,
    flops_per_second: float,
    link_bytes_per_second: float,
) -> Estimate:
    """Returns what one mesh would need.

    Args:
      config: the settings; its mesh sizes are not read, its rules are.
      rows: (rows, inputs, targets) of each objective, over all devices.
      mesh: sizes of data, fsdp, tensor.
      flops_per_second: peak of one device.
      link_bytes_per_second: of one device.
    """
    model, rules = config.model, config.mesh.resolved_rules()
    sizes = dict(zip(axes.MESH_AXES, mesh))

    def parts(name):
        product = 1
        for axis in axes_of(rules[name]):
            product *= sizes[axis]
        return product

    split, width, batch = parts(axes.EMBED), parts(axes.MLP), parts(axes.BATCH)
    params = _num_params(model)
    held = params / split / width * 4
    item = 2 if model.dtype == "bfloat16" else 4
    embedding = model.vocab_size * model.emb_dim * (1 if model.logits_via_embedding else 2)
    layers = (params - embedding) / split / width * item if model.scan_layers else 0.0
    kept = work = sent = 0.0
    for count, inputs, targets in rows:
        local = count / batch / config.train.microbatches
        positions = inputs * model.num_encoder_layers + targets * model.num_decoder_layers
        each = model.emb_dim * item / parts(axes.ACTIVATION_EMBED)
        if model.remat == REMAT_FULL:
            kept += local * positions * each
        else:
            scores = 5 * model.num_heads * inputs / model.emb_dim
            kept += local * positions * each * (34 + scores) / 2
        heads = max(1, model.num_heads / width)
        scores = local * heads * inputs * max(inputs, targets) * (2 * 4 + item)
        wide = local * inputs * (4 * model.emb_dim + 3 * model.mlp_dim / width) * item
        work = max(work, scores + wide)
        if width > 1:
            # Two all-reduces per layer and pass, three of them in a decoder; 3 passes with remat.
            sent += count / batch * positions * each * 5 * 2 * 2 * (width - 1) / width
    if split > 1:
        sent += 3 * (params - embedding) / width * item * (split - 1) / split
        sent += 2 * embedding / 2 / width * item + params / width * 4
    others = batch / split if batch > split else 1
    sent += 2 * held * (others - 1) / others if others > 1 else 0.0
    slots = 0.0 if config.optimizer.beta1 is None else held
    total = (2 * held + layers + slots + kept + work + _LOSS_BYTES) * _MARGIN + _CODE_BYTES
    layout = {str(i): _Row(*row) for i, row in enumerate(rows)}
    operations = train_flops(model, layout) + recomputed_flops(config, layout)
    devices = mesh[0] * mesh[1] * mesh[2]
    return Estimate(
        mesh=mesh,
        total_bytes=total,
        seconds=operations / devices / (0.5 * flops_per_second) + sent / link_bytes_per_second,
        encoder_positions=sum(count * inputs for count, inputs, _ in rows),
    )


_num_params = functools.cache(num_params)  # traces the model


@dataclasses.dataclass(frozen=True)
class _Row:
    rows: int
    inputs_length: int
    targets_length: int


def best_meshes(
    config: RunConfig, mixture: Mixture, topology: Topology, *, number: int = 5
) -> list[Estimate]:
    """Returns the meshes that should fit, the fastest first; all estimated.

    A mesh whose rows differ from the asked positions by more than 5% is left out.

    Raises:
      ConfigError: none fits.
    """
    rules, found, tried = config.mesh.resolved_rules(), [], []
    for mesh in _factorisations(topology.num_devices):
        sizes = dict(zip(axes.MESH_AXES, mesh))
        used = {axis for entry in rules.values() for axis in axes_of(entry)}
        if any(size > 1 and axis not in used for axis, size in sizes.items()):
            continue
        if not _divides(config, rules, sizes):
            continue
        multiple = 1
        for axis in axes_of(rules[axes.BATCH]):
            multiple *= sizes[axis]
        layout = plan_layout(mixture, config.data, rows_multiple=multiple)
        rows = [(row.rows, row.inputs_length, row.targets_length) for row in layout.values()]
        positions = sum(count * inputs for count, inputs, _ in rows)
        if abs(positions / config.data.encoder_tokens_per_batch - 1) > 0.05:
            continue
        tried.append(
            estimate(
                config,
                rows,
                mesh,
                flops_per_second=topology.generation.flops_per_second,
                link_bytes_per_second=topology.ici_bytes_per_second,
            )
        )
    found = [one for one in tried if one.total_bytes <= topology.generation.hbm_bytes]
    if not found:
        least = min(tried, key=lambda one: one.total_bytes, default=None)
        hint = (
            "no mesh divides the model and the batch"
            if least is None
            else f"the smallest, {least.mesh}, needs about {gib(least.total_bytes)} GiB a device"
        )
        raise ConfigError(
            f"plan: no mesh of {topology.describe()} should fit: {hint}; set model_config.remat to "
            "'full' and model_config.scan_layers to True, or choose a larger topology"
        )
    return sorted(found, key=lambda one: one.seconds)[:number]


def _divides(config: RunConfig, rules, sizes) -> bool:
    model = config.model
    lengths = {
        axes.EMBED: model.emb_dim,
        axes.VOCAB: model.vocab_size,
        axes.JOINED_KV: model.num_heads,
        axes.MLP: model.mlp_dim,
        axes.ACTIVATION_EMBED: model.emb_dim,
    }
    for name, length in lengths.items():
        parts = 1
        for axis in axes_of(rules[name]):
            parts *= sizes[axis]
        if length % parts:
            return False
    return True


def _factorisations(number: int) -> Iterator[tuple[int, int, int]]:
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    for data in divisors:
        for fsdp in divisors:
            if number % (data * fsdp) == 0:
                yield data, fsdp, number // data // fsdp


def nearest_change(plan: RunPlan, config: RunConfig) -> str:
    """Returns in words the smallest change after which a plan that does not fit should.

    Tried in this order: more rematerialisation, more devices along fsdp or tensor for the same
    pod, microbatches, a smaller batch, a larger pod. The estimate is scaled to what the compiler
    found.
    """
    if plan.target is None or plan.memory.available is None:
        return "set model_config.remat = 'full', or lower DataConfig.encoder_tokens_per_batch"
    rows = [(row.rows, row.inputs_length, row.targets_length) for row in plan.layout.values()]
    mesh = tuple(plan.mesh[axis] for axis in axes.MESH_AXES)
    speed = {
        "flops_per_second": plan.target.generation.flops_per_second,
        "link_bytes_per_second": plan.target.ici_bytes_per_second,
    }
    now = estimate(config, rows, mesh, **speed).total_bytes
    scale, limit = max(1.0, plan.memory.total / now), plan.memory.available

    def fits(changed, rows, mesh):
        return estimate(changed, rows, mesh, **speed).total_bytes * scale <= limit

    full = dataclasses.replace(
        config, model=dataclasses.replace(config.model, remat=REMAT_FULL, scan_layers=True)
    )
    if config.model != full.model and fits(full, rows, mesh):
        return "model_config.remat = 'full' and model_config.scan_layers = True"
    rules = config.mesh.resolved_rules()
    others = [
        other
        for other in _factorisations(plan.num_devices)
        if other[0] < mesh[0]
        and _divides(config, rules, dict(zip(axes.MESH_AXES, other)))
        and all(
            count % (other[0] * (other[1] if "fsdp" in axes_of(rules[axes.BATCH]) else 1)) == 0
            for count, _, _ in rows
        )
        and fits(full, rows, other)
    ]
    if others:
        data, fsdp, tensor = max(others, key=lambda other: (other[0], -other[2]))
        words = f"MeshConfig.data = {data}, .fsdp = {fsdp}, .tensor = {tensor}"
        return words + ("" if config.model == full.model else " with remat 'full' and scan_layers")
    batch = dict(zip(axes.MESH_AXES, mesh))
    parts = math.prod(batch[axis] for axis in axes_of(rules[axes.BATCH]))
    done = config.train.microbatches
    for divisor in (2, 4, 8, 16, 32):
        part = [(count // divisor, *lengths) for count, *lengths in rows]
        divides = all(count % (parts * done * divisor) == 0 for count, _, _ in rows)
        if divides and fits(full, part, mesh):
            return f"TrainConfig.microbatches = {done * divisor}, the batch stays what it is"
    for divisor in (2, 4, 8, 16, 32):
        smaller = [(max(1, count // divisor), *lengths) for count, *lengths in rows]
        if fits(full, smaller, mesh):
            tokens = config.data.encoder_tokens_per_batch
            return f"DataConfig.encoder_tokens_per_batch = {tokens // divisor:,}"
    return "a pod with more or larger devices; even a 32nd of the batch should not fit"
