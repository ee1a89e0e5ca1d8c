"""The meshes of a pod, or of this machine, ranked by an estimate that compiles nothing."""

from collections.abc import Iterator
import dataclasses

from nmt5.core.errors import ConfigError
from nmt5.data.layout import asked_tokens, plan_layout
from nmt5.data.mixture import Mixture
from nmt5.model.config import REMAT_FULL
from nmt5.planning.estimate import Estimate, estimate
from nmt5.planning.hardware import Hardware
from nmt5.planning.plan import gib
from nmt5.training.run_config import RunConfig

_MOST_OFF = 0.05


def best_meshes(
    config: RunConfig, mixture: Mixture, hardware: Hardware, *, number: int = 5
) -> list[Estimate]:
    """Returns the meshes that should fit, the fastest first; all estimated.

    Where the speed of the connections is not known, those that send least come first. A mesh whose
    rows differ from the asked positions by more than 5% is left out.

    Raises:
      ConfigError: none fits.
    """
    asked = asked_tokens(plan_layout(mixture, config.data), config.data)
    tried = []
    for data, fsdp, tensor in factorisations(hardware.num_devices):
        mesh = dataclasses.replace(config.mesh, data=data, fsdp=fsdp, tensor=tensor)
        try:
            one = estimate(dataclasses.replace(config, mesh=mesh), mixture, hardware)
        except ConfigError:  # does not divide the model or the batch
            continue
        if abs(one.encoder_positions / asked - 1) <= _MOST_OFF:
            tried.append(one)
    limit = hardware.memory_bytes
    found = [one for one in tried if limit is None or one.total_bytes <= limit]
    if not found:
        least = min(tried, key=lambda one: one.total_bytes, default=None)
        hint = (
            "no mesh divides the model and the batch"
            if least is None
            else f"the smallest, {least.mesh}, needs about {gib(least.total_bytes)} GiB a device"
        )
        is_lean = config.model.remat == REMAT_FULL and config.model.scan_layers
        remedy = "lower DataConfig.encoder_tokens_per_batch"
        if not is_lean:
            remedy = "set model_config.remat to 'full' and model_config.scan_layers to True"
        raise ConfigError(
            f"plan: no mesh of {hardware.description} should fit: {hint}; {remedy}, or choose more "
            "or larger devices"
        )

    def cost(one):
        return one.sent_bytes if one.seconds is None else one.seconds

    return sorted(found, key=cost)[:number]


def factorisations(number: int) -> Iterator[tuple[int, int, int]]:
    """Yields all (data, fsdp, tensor) that multiply to a number of devices."""
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    for data in divisors:
        for fsdp in divisors:
            if number % (data * fsdp) == 0:
                yield data, fsdp, number // data // fsdp
