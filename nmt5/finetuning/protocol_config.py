"""Which checkpoints, tasks and seeds the protocol compares, and on which devices."""

from collections.abc import Mapping
import dataclasses

from nmt5.core.errors import ConfigError, unknown_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """The whole comparison.

    Attributes:
      directory: where everything goes: a directory per run, `results.tsv`, `tables.md`.
      models: checkpoint by name of the model, in the order of the tables.
      tasks: names such as "mtop", "uner.zeroshot.pt_bosque", "tydiqa_goldp.by-held_out_english";
        see `ProtocolTask.parse`.
      seeds: scores are medians over them.
      baselines: models whose difference to each other one is shown.
      devices: one process per entry works on its share of the runs with `device_variable` set to
        it; () works in this process alone.
      device_variable: environment variable that tells a process its device.

    Raises:
      ConfigError: nothing to compare, or a baseline that is no model.
    """

    directory: str
    models: Mapping[str, str]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baselines: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    device_variable: str = "CUDA_VISIBLE_DEVICES"

    def __post_init__(self):
        if not isinstance(self.models, Mapping) or not self.models:
            raise ConfigError(
                f"ProtocolConfig.models is {self.models!r}; give {{'name': 'checkpoint', ...}}"
            )
        for field in ("tasks", "baselines", "devices"):
            value = getattr(self, field)
            some = (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(self, field, some)
        for name in self.baselines:
            if name not in self.models:
                raise ConfigError(
                    f"ProtocolConfig.baselines: {unknown_name('model', name, self.models)}"
                )
