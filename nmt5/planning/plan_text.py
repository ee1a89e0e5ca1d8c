"""A plan as text for people."""

from nmt5.data.layout import batch_line, layout_table
from nmt5.planning.advice import Change
from nmt5.planning.hardware import hardware_of
from nmt5.planning.plan import RunPlan, gib
from nmt5.planning.program_text import totals
from nmt5.training.run_config import RunConfig

# Model operations per second as part of the peak: what large T5 bodies reached on GPUs in NeMo and
# T5X (35 to 47%), and what published mT5 trainings did (15.7 to 20.7%).
UTILISATIONS = (0.2, 0.35, 0.5)


def plan_text(plan: RunPlan, config: RunConfig) -> str:
    """Returns the whole plan."""
    parts = [_head(plan, config), layout_table(plan.layout), _memory(plan)]
    if plan.memory.temporaries is not None:
        parts.append(_work(plan))
    parts.append(_time(plan, config))
    return "\n\n".join(parts)


def change_text(change: Change | None) -> str:
    """Returns the nearest change that makes a run fit, and how far that is known."""
    if change is None:
        return (
            "nearest change that makes it fit: none found down to a 32nd of the batch; use more or "
            "larger devices"
        )
    if change.plan is None:
        return f"nearest change that should fit (estimated, not compiled): {change.words}"
    memory = change.plan.memory
    return (
        f"nearest change that makes it fit (compiled: {gib(memory.total)} of "
        f"{gib(memory.available)} GiB a device): {change.words}"
    )


def _head(plan: RunPlan, config: RunConfig) -> str:
    where = hardware_of(plan.target).description
    mesh = ", ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    return (
        f"{where}\nmesh: {mesh}; preset '{config.mesh.preset}'"
        + (f" with {dict(config.mesh.rules)}" if config.mesh.rules else "")
        + f"; compiled in {plan.compile_seconds:.0f} s\n"
        f"{batch_line(plan.layout, config.data)}; {plan.positions:,} of both sides"
    )


def _memory(plan: RunPlan) -> str:
    memory = plan.memory
    lines = ["memory of one device, GiB"]
    rows = {
        "parameters": memory.parameters,
        "optimizer": memory.optimizer,
        "batch": memory.batch,
        "temporaries": memory.temporaries,
    }
    for name, size in rows.items():
        lines.append(f"  {name:12} {'-' if size is None else gib(size):>8}")
        if name == "temporaries" and size is not None:
            kept = "chosen by XLA" if memory.kept is None else gib(memory.kept)
            lines[-1] += f"   of these activations kept for the backward pass: {kept}"
    limit = "unknown" if memory.available is None else gib(memory.available)
    verdict = {True: "fits", False: "DOES NOT FIT", None: "cannot say whether it fits"}[memory.fits]
    lines.append(f"  {'total':12} {gib(memory.total):>8}   of {limit}: {verdict}")
    if memory.reserved:
        lines[-1] += f" ({gib(memory.reserved)} kept free for machine code, not generated here)"
    return "\n".join(lines)


def _work(plan: RunPlan) -> str:
    lines = [
        f"operations of a step: {plan.model_flops:.3e} by the model's formula, and "
        f"{plan.recomputed_flops:.3e} done again",
    ]
    if plan.moved_bytes is not None:
        lines.append(
            f"bytes that a device moves to and from its memory: {plan.moved_bytes:.3e}, each "
            "loop's body as often as it turns"
        )
    found = totals(list(plan.collectives))
    lines.append("collectives of a step, bytes that one device sends")
    for kind, (number, size) in found.items():
        lines.append(f"  {kind:20} {number:6} x  {gib(size):>8} GiB")
    if not found:
        lines.append("  none")
    return "\n".join(lines)


def _time(plan: RunPlan, config: RunConfig) -> str:
    if plan.compute_seconds is None:
        return "time: the peak of this device is not known"
    lines = [f"bound of a step: arithmetic {plan.compute_seconds:.3f} s"]
    if plan.communication_seconds is None:
        lines[0] += "; the speed of the connections is not known"
    elif plan.memory.temporaries is not None:
        lines[0] += (
            f", memory {plan.memory_seconds:.3f} s, collectives {plan.communication_seconds:.3f} s,"
            f" the longest {plan.roofline_seconds:.3f} s ({plan.roofline_utilisation:.0%} of peak)"
        )
    steps = config.train.train_steps
    chips = None if plan.target is None else plan.target.num_chips
    unit = "device-hours" if chips is None else "chip-hours"
    lines.append(f"{'utilisation':>11} {'s/step':>8} {'positions/s':>13} {'days':>7} {unit:>12}")
    for utilisation in UTILISATIONS:
        seconds = plan.step_seconds(utilisation)
        hours = steps * seconds / 3600
        bound = plan.roofline_utilisation
        above = bound is not None and plan.collectives and utilisation > bound
        lines.append(
            f"{utilisation:>11.0%} {seconds:8.2f} {plan.positions / seconds:13,.0f} "
            f"{hours / 24:7.2f} {hours * (chips or plan.num_devices):12,.0f}"
            + ("   above the bound" if above else "")
        )
    lines.append(f"for {steps:,} steps, without evaluation, checkpoints and restarts")
    return "\n".join(lines)
