"""The nearest change of settings after which a run that does not fit its devices does.

Candidates are estimated, and the first that should fit is compiled, as the plan itself was. If it
does not fit either, the estimate was too low: it is corrected by what the compiler found, and the
next candidate that should fit is compiled.
"""

from collections.abc import Iterator
import dataclasses

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import Mixture
from nmt5.model.config import REMAT_FULL
from nmt5.planning.estimate import Estimate, estimate
from nmt5.planning.hardware import Hardware, hardware_of
from nmt5.planning.plan import RunPlan, make_plan
from nmt5.planning.search import factorisations
from nmt5.training.run_config import RunConfig

_DIVISORS = (2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Settings that need less memory.

    Attributes:
      words: what to set.
      config: all settings with it.
      plan: what the compiler says of them; None where they are estimated only.
    """

    words: str
    config: RunConfig
    plan: RunPlan | None = None


def nearest_change(
    plan: RunPlan, config: RunConfig, mixture: Mixture, *, compiled: int = 3
) -> Change | None:
    """Returns the smallest change after which a plan that does not fit does.

    Tried in this order: more rematerialisation, more devices along fsdp or tensor, microbatches, a
    smaller batch.

    Args:
      plan: it does not fit.
      config: the settings that it was made of.
      mixture: the same.
      compiled: so many candidates are compiled at most; after them the next one is only estimated.

    Returns:
      The change; None if there is none down to a 32nd of the batch.
    """
    hardware = hardware_of(plan.target)
    now = estimate(config, mixture, hardware)
    scale = _needed(plan) / now.total_bytes
    for change, estimated in _estimated_changes(config, mixture, now, hardware):
        if estimated.total_bytes * scale > plan.memory.available:
            continue
        if compiled == 0:
            return change
        compiled -= 1
        found = make_plan(change.config, mixture, topology=plan.target)
        if found.memory.fits:
            return dataclasses.replace(change, plan=found)
        scale = max(scale, _needed(found) / estimated.total_bytes)
    return None


def _needed(plan: RunPlan) -> float:
    return plan.memory.total + plan.memory.reserved


def _estimated_changes(
    config: RunConfig, mixture: Mixture, now: Estimate, hardware: Hardware
) -> Iterator[tuple[Change, Estimate]]:
    """Yields the changes that can be made, the smallest first, each with its estimate."""
    for change in _changes(config, now.mesh):
        try:
            one = estimate(change.config, mixture, hardware)
        except ConfigError:  # does not divide the model or the batch
            continue
        smaller_batch = change.config.data != config.data
        if smaller_batch or one.encoder_positions == now.encoder_positions:
            yield change, one


def _changes(config: RunConfig, mesh: tuple[int, int, int]) -> Iterator[Change]:
    full = dataclasses.replace(config.model, remat=REMAT_FULL, scan_layers=True)
    lean, also = dataclasses.replace(config, model=full), ""
    if full != config.model:
        also = "model_config.remat = 'full', model_config.scan_layers = True"
        yield Change(words=also, config=lean)
        also += ", "
    others = [other for other in factorisations(mesh[0] * mesh[1] * mesh[2]) if other[0] < mesh[0]]
    for data, fsdp, tensor in sorted(others, key=lambda other: (-other[0], other[2])):
        changed = dataclasses.replace(config.mesh, data=data, fsdp=fsdp, tensor=tensor)
        yield Change(
            words=f"{also}MeshConfig.data = {data}, .fsdp = {fsdp}, .tensor = {tensor}",
            config=dataclasses.replace(lean, mesh=changed),
        )
    for divisor in _DIVISORS:
        parts = config.train.microbatches * divisor
        yield Change(
            words=f"{also}TrainConfig.microbatches = {parts}, the batch stays what it is",
            config=dataclasses.replace(
                lean, train=dataclasses.replace(config.train, microbatches=parts)
            ),
        )
    for divisor in _DIVISORS:
        tokens = max(1, config.data.encoder_tokens_per_batch // divisor)
        data = dataclasses.replace(config.data, encoder_tokens_per_batch=tokens)
        words = f"{also}DataConfig.encoder_tokens_per_batch = {tokens}"
        if config.data.rows:
            rows = {name: max(1, count // divisor) for name, count in config.data.rows.items()}
            data = dataclasses.replace(data, rows=rows)
            words += f", DataConfig.rows = {rows}"
        yield Change(words=words, config=dataclasses.replace(lean, data=data))
