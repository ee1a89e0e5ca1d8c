"""The training loop: from settings and a resolved mixture to a run directory.

run.json          each start: what it began from, where it ran
settings.txt      every setting, one a line
mixture.json      the mixture as it was trained on
metrics.jsonl     numbers by step; the same in tensorboard/
sampled.json      what was drawn of each task, against what was asked
checkpoints/      checkpoint_<step>
"""

from collections.abc import Callable, Iterable, Mapping
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import os
import platform
import sys
from typing import Any

from etils import epath
import jax
import numpy as np

from nmt5 import __version__
from nmt5.checkpoints.manager import (
    SUBDIRECTORY,
    CheckpointWriter,
    Description,
)
from nmt5.core.errors import ConfigError, DataError, UserError
from nmt5.core.files import write_json
from nmt5.core.pytrees import unflatten_paths
from nmt5.data.feed import Feed
from nmt5.data.heldout import heldout_batches
from nmt5.data.layout import layout_table, plan_layout
from nmt5.data.mixture import Mixture, write_mixture
from nmt5.model.parameters import num_params, param_axes, param_shapes
from nmt5.partitioning.mesh import TENSOR, make_mesh
from nmt5.partitioning.shardings import (
    batch_sharding,
    param_shardings,
    rows_multiple,
)
from nmt5.training.flops import peak_flops_per_second, train_flops
from nmt5.training.held_out import held_out_losses
from nmt5.training.interruption import StopRequest
from nmt5.training.metrics import FILE as METRICS
from nmt5.training.metrics import JsonLinesWriter, MetricWriter, TensorBoardWriter
from nmt5.training.optimizer import optimizer_shardings
from nmt5.training.prefetch import PlacedBatch, Prefetcher
from nmt5.training.progress import Progress
from nmt5.training.recorder import Recorder, Sampled
from nmt5.training.run_config import RunConfig, TrainConfig
from nmt5.training.run_directory import record_start, run_lock, write_settings
from nmt5.training.start import Start, abstract_state, check_fits, choose_start, make_state
from nmt5.training.state import TrainState
from nmt5.training.step import FEATURES, StepConfig, eval_step, train_step

__all__ = ["Outcome", "RunConfig", "TrainConfig", "train"]

SAMPLED, MIXTURE, TENSORBOARD = "sampled.json", "mixture.json", "tensorboard"
VALIDATION = "validation"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: "finished", "was finished" or "stopped", at which step, how long it took."""

    how: str
    step: int
    seconds: float


def train(
    config: RunConfig,
    *,
    mixture: Mixture,
    writers: Iterable[MetricWriter] = (),
    progress: Callable[..., Progress] = Progress,
) -> Outcome:
    """Trains until `train_steps`, from wherever the run stands.

    A stop request (SIGTERM, SIGINT) saves a checkpoint first; a kill loses the steps since the
    last checkpoint, and the next call makes them again with the same result, bit for bit on the
    same devices.

    Args:
      config: the settings.
      mixture: the resolved mixture.
      writers: take the metrics too, besides the run directory.
      progress: makes the display from `total` and `start`.

    Raises:
      ConfigError: settings that contradict each other or the devices.
      DataError: text that is missing or of the wrong kind, or batches that cannot be trained on.
      VocabularyError: mixture, store and checkpoint do not share one vocabulary.
      CheckpointError: a checkpoint that is missing, damaged or of another model.
      StorageError: the run directory is in use or cannot be written.
    """
    if jax.process_count() > 1:
        raise ConfigError(
            f"train: started in {jax.process_count()} processes; this version trains in one, over "
            "all devices of one machine"
        )
    _check(config, mixture)
    if config.train.compilation_cache:
        _keep_compiled_programs(config.train.compilation_cache)
    with run_lock(config.train.run_dir):
        start = choose_start(config.train.run_dir, config.checkpoint, report=_warn)
        if start.step >= config.train.train_steps:
            return Outcome(how="was finished", step=start.step, seconds=0.0)
        check_fits(start, mixture=mixture, model=config.model, report=_warn)
        with contextlib.ExitStack() as stack:
            run = _Run(config, mixture, start, writers=writers, progress=progress)
            stack.callback(run.close)
            return run.go()


def _check(config: RunConfig, mixture: Mixture) -> None:
    if config.model.vocab_size < mixture.vocabulary.size:
        raise ConfigError(
            f"model_config.vocab_size is {config.model.vocab_size}, the vocabulary of mixture "
            f"'{mixture.name}' has {mixture.vocabulary.size} ids; set it to that or a little more "
            "(a multiple of 128 is fast)"
        )


def _keep_compiled_programs(directory: str) -> None:
    jax.config.update("jax_compilation_cache_dir", os.path.abspath(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _warn(line: str) -> None:
    print(f"nmt5 train: {line}", file=sys.stderr, flush=True)


class _Run:
    """One start of a run: everything that is open while the loop turns."""

    def __init__(self, config: RunConfig, mixture: Mixture, start: Start, *, writers, progress):
        self._config, self._mixture, self._start = config, mixture, start
        self._directory = epath.Path(config.train.run_dir)
        mesh = make_mesh(config.mesh)
        self._num_devices = mesh.size
        self._layout = plan_layout(mixture, config.data, rows_multiple=rows_multiple(mesh))
        self._step_config = StepConfig(
            model=config.model,
            optimizer=config.optimizer,
            loss=config.loss,
            seed=config.train.seed,
            vocab_shards=mesh.shape[TENSOR],
        )
        self._rows_multiple = rows_multiple(mesh)
        self._rows_sharding = batch_sharding(mesh)
        self._state_sharding = _state_shardings(mesh, config)
        self._replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        # All that may refuse comes before the first file is written.
        self._feed = Feed(mixture, config.data, rows_multiple=self._rows_multiple)
        saved = start.saved
        self._sampled = Sampled(
            len(self._feed.tasks), progress=saved.progress if saved is not None else None
        )
        batches = iter(self._feed)
        if saved is not None:
            batches.set_state(saved.feed)
        self._record()
        self._progress = progress(total=config.train.train_steps, start=start.step)
        self._progress.say(self._introduction())
        # The first batches are made in a thread while the step is compiled in this one.
        self._batches = Prefetcher(batches, place=self._place)
        self._checkpoints = CheckpointWriter(
            self._directory / SUBDIRECTORY, keep=config.checkpoint.keep
        )
        self._writers = [
            JsonLinesWriter(self._directory / METRICS, resumed_at=start.step),
            TensorBoardWriter(self._directory / TENSORBOARD, resumed_at=start.step),
            *writers,
        ]
        self._recorder = Recorder(
            flops_per_step=train_flops(config.model, self._layout),
            peak_flops_per_second=peak_flops_per_second(list(mesh.devices.flat)),
        )
        self._eval_step = jax.jit(functools.partial(eval_step, config=self._step_config))
        self._position: Any = None

    def _record(self) -> None:
        config = self._config
        write_settings(self._directory, config.named())
        write_mixture(self._mixture, self._directory / MIXTURE)
        device = jax.devices()[0]
        record_start(
            self._directory,
            {
                "kind": self._start.kind,
                "from": self._start.source,
                "step": self._start.step,
                "train_steps": config.train.train_steps,
                "parameters": num_params(config.model),
                "devices": f"{self._num_devices} x {device.device_kind}",
                "cpus": os.cpu_count(),
                "versions": {
                    "nmt5": __version__,
                    "jax": jax.__version__,
                    "python": platform.python_version(),
                },
            },
        )

    def _introduction(self) -> str:
        start = self._start
        source = f" from {start.source}" if start.source else ""
        return (
            f"{self._directory}: {start.kind}{source}, step {start.step} of "
            f"{self._config.train.train_steps}; {num_params(self._config.model):,} parameters on "
            f"{self._num_devices} {jax.devices()[0].platform} device(s)\n"
            + layout_table(self._layout)
        )

    def _place(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._place_group(group) for name, group in arrays.items()}

    def _place_group(self, group: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            name: jax.make_array_from_process_local_data(self._rows_sharding, group[name])
            for name in FEATURES
        }

    def _compiled_step(self):
        """Compiles for the shapes of the layout, which need no batch to be known."""
        abstract = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract_state(self._config.model, optimizer=self._config.optimizer),
            self._state_sharding,
        )

        def rows(shape, length):
            size = (shape.rows, length)
            return jax.ShapeDtypeStruct(size, np.int32, sharding=self._rows_sharding)

        batch = {
            objective: {
                name: rows(
                    shape,
                    shape.inputs_length if name.startswith("encoder") else shape.targets_length,
                )
                for name in FEATURES
            }
            for objective, shape in self._layout.items()
        }
        step = jax.jit(
            functools.partial(train_step, config=self._step_config),
            out_shardings=(self._state_sharding, self._replicated),
            donate_argnums=0,
        )
        return step.lower(abstract, batch).compile()

    def _prepare(self) -> tuple[TrainState, Any]:
        """Makes the state and compiles the step, both at once: each keeps one core busy."""
        config = self._config
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            step_function = pool.submit(self._compiled_step)
            # Orbax takes a second to import; the first save need not wait for it.
            pool.submit(importlib.import_module, "orbax.checkpoint")
            state = make_state(
                self._start,
                model=config.model,
                optimizer=config.optimizer,
                shardings=self._state_sharding,
                seed=config.train.seed,
            )
            return state, step_function.result()

    def go(self) -> Outcome:
        """Turns the loop."""
        config = self._config
        with StopRequest(say=self._progress.say) as stop:
            state, step_function = self._prepare()
            step, saved_at = self._start.step, self._start.step
            self._recorder.restart()
            while step < config.train.train_steps and stop.requested is None:
                batch: PlacedBatch = next(self._batches)
                state, metrics = step_function(state, batch.arrays)
                step += 1
                self._sampled.add(batch.sampled, truncated=batch.truncated)
                self._position = batch.position
                self._recorder.add(metrics)
                if step == self._start.step + 1:
                    self._progress.begin()
                self._progress.update(step)
                if self._recorder.skipped_in_a_row >= config.train.max_skipped_steps:
                    raise DataError(
                        f"train: step {step}: {self._recorder.skipped_in_a_row} batches in a row "
                        "gave a loss or gradient that is not finite; lower "
                        "OptimizerConfig.learning_rate, or look at the text with `nmt5 show`"
                    )
                is_last = step == config.train.train_steps
                self._report(step, state, is_last=is_last)
                if step % config.checkpoint.period_steps == 0 or is_last:
                    self._save(step, state)
                    saved_at = step
            if step > saved_at:
                self._save(step, state)
        self._checkpoints.wait()
        seconds = self._sampled.to_json()["seconds"]
        self._progress.close()
        how = "finished" if step == config.train.train_steps else "stopped"
        return Outcome(how=how, step=step, seconds=seconds)

    def _report(self, step: int, state: TrainState, *, is_last: bool) -> None:
        config, values = self._config.train, {}
        if step % config.log_period_steps == 0 or is_last:
            self._recorder.flush()
            values = self._recorder.window()
            self._progress.log(step, _short(values))
        period = config.eval_period_steps
        if period is not None and (step % period == 0 or is_last):
            self._recorder.flush()
            values |= held_out_losses(
                state.params,
                heldout_batches(
                    self._mixture,
                    self._config.data,
                    split=VALIDATION,
                    rows=-(-config.eval_rows // self._rows_multiple) * self._rows_multiple,
                    max_batches_per_task=config.eval_batches_per_task,
                ),
                eval_step=self._eval_step,
                place=self._place_group,
            )
            self._recorder.restart()
            self._progress.say(f"step {step}: held out  " + _short_held_out(values))
        if values:
            values["seconds"] = self._sampled.to_json()["seconds"]
            for writer in self._writers:
                writer.write(step, values)

    def _save(self, step: int, state: TrainState) -> None:
        self._checkpoints.save(
            step,
            state.to_tree(),
            feed=self._position,
            progress=self._sampled.to_json(),
            description=Description(
                step=step,
                model=self._config.model.to_dict(),
                vocabulary_fingerprint=self._mixture.vocabulary.fingerprint,
                vocabulary_size=self._mixture.vocabulary.size,
                mixture=self._mixture.name,
                run={"seed": self._config.train.seed, "data_seed": self._config.data.seed},
            ),
        )
        write_json(self._directory / SAMPLED, self._sampled_table(step))

    def _sampled_table(self, step: int) -> dict[str, Any]:
        """Returns what was drawn of each task beside the part of encoder tokens it was to give."""
        asked = [
            (group.objective, group.share * task.rate / sum(t.rate for t in group.tasks))
            for group in self._mixture.groups
            for task in group.tasks
        ]
        tasks = [
            {
                "task": task.name,
                "objective": objective,
                "languages": list(task.languages),
                "asked_weight": weight,
                "examples": int(counts[0]),
                "encoder_tokens": int(counts[1]),
                "target_tokens": int(counts[2]),
            }
            for task, (objective, weight), counts in zip(
                self._feed.tasks, asked, self._sampled.counts, strict=True
            )
        ]
        return {"step": step, "truncated": self._sampled.truncated, "tasks": tasks}

    def close(self) -> None:
        """Ends threads and files, also after an error."""
        self._batches.close()
        with contextlib.suppress(UserError):  # the loop's own error is the one to show
            self._checkpoints.close()
        for writer in self._writers:
            with contextlib.suppress(UserError):
                writer.close()
        self._progress.close()


def _state_shardings(mesh, config: RunConfig) -> TrainState:
    shapes = param_shapes(config.model)
    params = unflatten_paths(
        param_shardings(mesh, shapes=shapes, logical_axes=param_axes(config.model))
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


def _short(values: Mapping[str, float]) -> str:
    parts = [
        f"{name.split('/')[1]} {value:.3f}"
        for name, value in values.items()
        if name.startswith("train/") and name.endswith("/loss")
    ]
    parts.append(f"{values['speed/real_tokens_per_second']:,.0f} tokens/s")
    if "speed/model_flop_utilisation" in values:
        parts.append(f"{values['speed/model_flop_utilisation']:.0%} of peak")
    if values["train/skipped_steps"]:
        parts.append(f"{values['train/skipped_steps']:.0f} steps skipped")
    return "  ".join(parts)


def _short_held_out(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name.split('/')[1]} {value:.3f}"
        for name, value in values.items()
        if name.startswith("heldout/") and name.endswith("/loss")
    )
