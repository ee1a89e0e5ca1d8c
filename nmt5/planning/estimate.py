"""Memory and time of a run estimated without compiling it, from its settings alone.

    parameters               as if each were split over all axes that any is split over
    optimizer slots          as large as the parameters with momentum, else nothing (factored)
    gradients                as large as the parameters, float32
    stacked layers           one more copy of the layers in the activation dtype (scanned)
    kept activations         layer inputs, if rematerialised in full; else about 34 + 5 a T / D
                             times a layer input (Korthikanti et al., arXiv 2205.05198, per layer)
    one layer at work        its attention scores (about 3 copies) and widest projections
    loss                     its chunks of logits, and hidden states

Held against the compiler only once: mT5-XXL on v5p:4x4x8, 2 x 16 x 4, is estimated at 18.6 GiB, and
its buffers take 13.3. Use it to choose, and `nmt5 plan` to know.
"""

from collections.abc import Mapping
import dataclasses
import functools

from nmt5.core import axes
from nmt5.core.errors import ConfigError
from nmt5.data.layout import RowLayout, plan_layout
from nmt5.data.mixture import Mixture
from nmt5.model.config import REMAT_FULL
from nmt5.model.parameters import num_params
from nmt5.partitioning.rules import axes_of
from nmt5.planning.hardware import Hardware
from nmt5.planning.plan import recomputed_flops
from nmt5.training.flops import train_flops
from nmt5.training.run_config import RunConfig
from nmt5.training.step import check_microbatches

_LOSS_BYTES = 2 * 256 * 2**20
# The compiler's and the runtime's own, and what the estimate may miss.
_MARGIN = 1.15
_CODE_BYTES = 0.2 * 2**30

_num_params = functools.cache(num_params)  # traces the model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would need, without compiling.

    Attributes:
      mesh: (data, fsdp, tensor).
      total_bytes: memory of one device.
      sent_bytes: what one device sends in a step.
      seconds: arithmetic at 50% of the peak plus communication, one after the other; None where
        the speed of devices or connections is not known.
      encoder_positions: of a step; rows are whole multiples.
    """

    mesh: tuple[int, int, int]
    total_bytes: float
    sent_bytes: float
    seconds: float | None
    encoder_positions: int


def estimate(config: RunConfig, mixture: Mixture, hardware: Hardware) -> Estimate:
    """Returns what a run would need.

    Args:
      config: the settings.
      mixture: its objectives and shares decide the rows.
      hardware: the devices.

    Raises:
      ConfigError: a mesh, rows or microbatches that do not fit each other or the devices.
    """
    rules = config.mesh.resolved_rules()
    mesh = config.mesh.resolve(hardware.num_devices)
    sizes = dict(zip(axes.MESH_AXES, mesh))
    used = {axis for entry in rules.values() for axis in axes_of(entry)}
    if any(size > 1 and axis not in used for axis, size in sizes.items()):
        raise ConfigError(f"plan: mesh {sizes} has an axis that nothing is split over")

    def parts(name):
        product = 1
        for axis in axes_of(rules[name]):
            product *= sizes[axis]
        return product

    _check_divides(config, parts)
    batch = parts(axes.BATCH)
    layout = plan_layout(mixture, config.data, rows_multiple=batch)
    rows = {name: row.rows for name, row in layout.items()}
    check_microbatches(rows, microbatches=config.train.microbatches, row_shards=batch)
    total, sent = _bytes(config, layout, parts)
    seconds = None
    if hardware.flops_per_second is not None and hardware.link_bytes_per_second is not None:
        operations = train_flops(config.model, layout) + recomputed_flops(config, layout)
        seconds = operations / hardware.num_devices / (0.5 * hardware.flops_per_second)
        seconds += sent / hardware.link_bytes_per_second
    return Estimate(
        mesh=mesh,
        total_bytes=total,
        sent_bytes=sent,
        seconds=seconds,
        encoder_positions=sum(row.rows * row.inputs_length for row in layout.values()),
    )


def _check_divides(config: RunConfig, parts) -> None:
    model = config.model
    lengths = {
        axes.EMBED: model.emb_dim,
        axes.VOCAB: model.vocab_size,
        axes.JOINED_KV: model.num_heads,
        axes.MLP: model.mlp_dim,
        axes.ACTIVATION_EMBED: model.emb_dim,
    }
    for name, length in lengths.items():
        if length % parts(name):
            raise ConfigError(f"plan: '{name}' ({length}) over {parts(name)} devices")


def _bytes(config: RunConfig, layout: Mapping[str, RowLayout], parts) -> tuple[float, float]:
    """Returns what one device holds and what it sends in a step.

    Args:
      config: the settings.
      layout: rows and lengths.
      parts: logical axis -> into how many parts it is split.
    """
    model = config.model
    split, width, batch = parts(axes.EMBED), parts(axes.MLP), parts(axes.BATCH)
    params = _num_params(model)
    held = params / split / width * 4
    item = 2 if model.dtype == "bfloat16" else 4
    embedding = model.vocab_size * model.emb_dim * (1 if model.logits_via_embedding else 2)
    layers = (params - embedding) / split / width * item if model.scan_layers else 0.0
    kept = work = sent = 0.0
    for row in layout.values():
        count, inputs, targets = row.rows, row.inputs_length, row.targets_length
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
    return total, sent
