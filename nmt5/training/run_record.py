"""What a start of a run writes down and says of itself before the first step."""

from collections.abc import Mapping
import os
import platform

from etils import epath
import jax

from nmt5 import __version__
from nmt5.data.layout import RowLayout, batch_line, layout_table
from nmt5.data.mixture import Mixture, write_mixture
from nmt5.model.parameters import num_params
from nmt5.partitioning.processes import group
from nmt5.training.run_config import RunConfig
from nmt5.training.run_directory import record_start, write_settings
from nmt5.training.start import Start

MIXTURE = "mixture.json"


def write_record(
    config: RunConfig, mixture: Mixture, start: Start, *, mesh: jax.sharding.Mesh
) -> None:
    """Writes settings and mixture, and adds this start to `run.json`; raises `StorageError`."""
    directory = epath.Path(config.train.run_dir)
    write_settings(directory, config.named())
    write_mixture(mixture, directory / MIXTURE)
    record_start(
        directory,
        {
            "kind": start.kind,
            "from": start.source,
            "step": start.step,
            "train_steps": config.train.train_steps,
            "parameters": num_params(config.model),
            "devices": f"{mesh.size} x {mesh.devices.flat[0].device_kind}",
            "processes": group().count,
            "cpus": os.cpu_count(),
            "versions": {
                "nmt5": __version__,
                "jax": jax.__version__,
                "python": platform.python_version(),
            },
        },
    )


def introduction(
    config: RunConfig,
    start: Start,
    *,
    mesh: jax.sharding.Mesh,
    layout: Mapping[str, RowLayout],
) -> str:
    """Returns what the display says first: from where, how large, on what, which rows."""
    source = f" from {start.source}" if start.source else ""
    processes = f" of {group().count} processes" if group().count > 1 else ""
    return (
        f"{config.train.run_dir}: {start.kind}{source}, step {start.step} of "
        f"{config.train.train_steps}; {num_params(config.model):,} parameters on {mesh.size} "
        f"{mesh.devices.flat[0].platform} device(s){processes}\n{layout_table(layout)}\n"
        f"{batch_line(layout, config.data)}"
    )
