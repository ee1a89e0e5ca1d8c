"""The training loop: from settings and a resolved mixture to a run directory.

run.json          each start: what it began from, where it ran
settings.txt      every setting, one a line
mixture.json      the mixture as it was trained on
metrics.jsonl     numbers by step; the same in tensorboard/
sampled.json      what was drawn of each task, against what was asked
checkpoints/      checkpoint_<step>
"""

from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import contextlib
import dataclasses
import importlib
import io
import os
import sys
from typing import Any

from etils import epath
import jax

from nmt5.core.allocator import give_back_free_memory, keep_freed_memory
from nmt5.core.errors import ConfigError, UserError
from nmt5.data.feed import Feed
from nmt5.data.mixture import Mixture
from nmt5.partitioning.agreement import require_same, together
from nmt5.partitioning.processes import group
from nmt5.training.bad_numbers import BadNumbers, BadNumbersError
from nmt5.training.flops import peak_flops_per_second, positions, train_flops
from nmt5.training.interruption import StopRequest
from nmt5.training.metrics import MetricWriter
from nmt5.training.placement import own_share
from nmt5.training.preemption import PreemptionNotice, metadata_host
from nmt5.training.prefetch import Ahead, placed_batches
from nmt5.training.profile import StepProfiler
from nmt5.training.progress import Progress
from nmt5.training.recorder import Recorder, Sampled
from nmt5.training.reports import Reports
from nmt5.training.run_config import RunConfig, TrainConfig
from nmt5.training.run_directory import run_lock_of_all, settings_text
from nmt5.training.run_record import introduction, write_record
from nmt5.training.saver import Saver
from nmt5.training.start import Start, check_fits, choose_start, make_state
from nmt5.training.state import TrainState
from nmt5.training.step_program import step_program
from nmt5.training.watchdog import Doing, Watchdog

__all__ = ["Outcome", "RunConfig", "TrainConfig", "train"]

PROFILE = "profile"


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
    profile_steps: int = 0,
) -> Outcome:
    """Trains until `train_steps`, from wherever the run stands.

    A stop request (SIGTERM, SIGINT) saves a checkpoint first; a kill loses the steps since the
    last checkpoint, and the next call makes them again with the same result, bit for bit on the
    same devices.

    On one CPU device the process keeps the memory that it frees: see `nmt5.core.allocator`, also
    for what is to be called before.

    Args:
      config: the settings.
      mixture: the resolved mixture.
      writers: take the metrics too, besides the run directory.
      progress: makes the display from `total` and `start`.
      profile_steps: steps to trace, after the first ones; where their time went is printed.

    Raises:
      ConfigError: settings that contradict each other or the devices.
      DataError: text that is missing or of the wrong kind, or batches that cannot be trained on.
      VocabularyError: mixture, store and checkpoint do not share one vocabulary.
      CheckpointError: a checkpoint that is missing, damaged or of another model.
      StorageError: the run directory is in use or cannot be written.
    """
    require_same(
        "settings",
        settings_text(
            config.named()
            | {"mixture": dataclasses.asdict(mixture), "versions": {"jax": jax.__version__}}
        ),
        remedy="start all processes with the same gin files and arguments",
    )
    _check(config, mixture)
    if config.train.compilation_cache:
        _keep_compiled_programs(config.train.compilation_cache)
    with (
        StopRequest() as stop,
        PreemptionNotice(metadata_host(), notify=stop.preempted),
        run_lock_of_all(config.train.run_dir),
        contextlib.ExitStack() as stack,
    ):
        # What one process cannot begin, none begins.
        with together("start of the run"):
            start = choose_start(config.train.run_dir, config.checkpoint, report=_warn)
            if start.step >= config.train.train_steps:
                return Outcome(how="was finished", step=start.step, seconds=0.0)
            check_fits(start, mixture=mixture, model=config.model, report=_warn)
            run = _Run(
                config,
                mixture,
                start,
                stop=stop,
                writers=writers,
                progress=progress,
                profile_steps=profile_steps,
            )
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
    if group().is_first:
        print(f"nmt5 train: {line}", file=sys.stderr, flush=True)


class _Run:
    """One start of a run: everything that is open while the loop turns."""

    def __init__(
        self,
        config: RunConfig,
        mixture: Mixture,
        start: Start,
        *,
        stop: StopRequest,
        writers: Iterable[MetricWriter],
        progress: Callable[..., Progress],
        profile_steps: int,
    ):
        self._config, self._mixture, self._start, self._stop = config, mixture, start, stop
        self._directory = epath.Path(config.train.run_dir)
        self._program = step_program(config, mixture)
        self._layout = self._program.layout
        # All that may refuse comes before the first file is written.
        share, shares = own_share(self._program.rows_sharding)
        self._feed = Feed(
            mixture,
            config.data,
            process_index=share,
            process_count=shares,
            rows_multiple=self._program.rows_multiple,
        )
        saved = start.saved
        self._sampled = Sampled(
            len(self._feed.tasks),
            # What was drawn before counts once: in process 0, which adds up.
            progress=saved.progress if saved is not None and group().is_first else None,
        )
        batches = iter(self._feed)
        if saved is not None:
            batches.set_state(saved.feed)
        if group().is_first:
            write_record(config, mixture, start, mesh=self._program.mesh)
        # One process speaks for all.
        stream = {} if group().is_first else {"stream": io.StringIO()}
        self._progress = progress(total=config.train.train_steps, start=start.step, **stream)
        self._progress.say(
            introduction(config, start, mesh=self._program.mesh, layout=self._layout)
        )
        stop.say = self._progress.say
        self._profiler = StepProfiler(
            self._directory / PROFILE,
            say=self._progress.say,
            steps=profile_steps if group().is_first else 0,
        )
        # Measured on a CPU, so before anything else keeps it busy.
        peak = peak_flops_per_second(list(self._program.mesh.devices.flat))
        # The first batches are made in a thread while the step is compiled in this one.
        self._batches = Ahead(
            placed_batches(batches, sharding=self._program.rows_sharding), name="feed"
        )
        self._saver = Saver(
            config,
            mixture,
            tasks=self._feed.tasks,
            sampled=self._sampled,
            step=start.step,
            share=share,
        )
        self._watchdog = Watchdog(
            limit_seconds=config.train.watchdog_seconds,
            stops=config.train.watchdog_stops,
            stop=stop,
            saved=self._saver.saved,
        )
        self._recorder = Recorder(
            flops_per_step=train_flops(config.model, self._layout),
            positions_per_step=positions(self._layout),
            peak_flops_per_second=peak,
            bad_numbers=BadNumbers(
                self._directory,
                max_in_a_row=config.train.max_skipped_steps,
                spike_factor=config.train.loss_spike_factor,
                facts={
                    "mixture": mixture.name,
                    "vocabulary_fingerprint": mixture.vocabulary.fingerprint,
                },
            ),
        )
        self._reports = Reports(
            config,
            mixture,
            program=self._program,
            recorder=self._recorder,
            sampled=self._sampled,
            progress=self._progress,
            writers=writers,
            step=start.step,
            watchdog=self._watchdog,
            stop=stop,
        )

    def _prepare(self) -> tuple[TrainState, Any]:
        """Makes the state and compiles the step, both at once: each keeps one core busy."""
        config = self._config
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            # Compiled for the shapes of the layout, which need no batch to be known.
            compiling = pool.submit(lambda: self._program.lower().compile())
            # Orbax takes a second to import; the first save need not wait for it.
            pool.submit(importlib.import_module, "orbax.checkpoint")
            state = make_state(
                self._start,
                model=config.model,
                abstract=self._program.state,
                seed=config.train.seed,
            )
            step_function = compiling.result()
        # Compiling and making parameters leave some 0.3 GB that no step would use; what a step
        # leaves is for the next.
        give_back_free_memory()
        if [device.platform for device in self._program.mesh.devices.flat] == ["cpu"]:
            keep_freed_memory()
        return state, step_function

    def go(self) -> Outcome:
        """Trains to the end, or until a stop is asked for, and says how it ended."""
        step = self._start.step
        try:
            with self._watchdog:
                if self._stop.requested is None:
                    self._watchdog.at(Doing.COMPILING, step=step)
                    step = self._turn(*self._prepare())
            self._watchdog.raise_if_stalled()
        except UserError as error:
            raise type(error)(f"{error}; {self._saver.saved()}") from error
        except Exception:
            _warn(self._saver.saved())
            raise
        seconds = self._sampled.to_json()["seconds"]
        self._progress.close()
        how = "finished" if step == self._config.train.train_steps else "stopped"
        return Outcome(how=how, step=step, seconds=seconds)

    def _turn(self, state: TrainState, step_function: Any) -> int:
        """Turns the loop; returns the step at which it ended, which is saved."""
        last, period = self._config.train.train_steps, self._config.checkpoint.period_steps
        at, step, position = self._watchdog.at, self._start.step, None
        self._reports.catch_up(state.params)
        self._recorder.restart()
        while step < last and not self._stop.is_due(step):
            at(Doing.INPUT, step=step)
            with self._saved_if_this_fails(step, state, position), self._profiler.input():
                batch = self._batches.next(unless=lambda: self._stop.requested is not None)
            if batch is None:
                break
            at(Doing.STEP)
            state, metrics = step_function(state, batch.arrays)
            self._profiler.after_step(metrics, program=step_function)
            step, position = step + 1, batch.position
            self._sampled.add(batch.sampled, truncated=batch.truncated)
            with self._saved_if_this_fails(step, state, position):
                self._reports.add(step, metrics, batch=batch.arrays, params=state.params)
            if step == self._start.step + 1:
                self._progress.begin()
                # What the first step made for good may lie above its arrays: the next step's
                # arrays then no longer fit where these were.
                give_back_free_memory()
            self._progress.update(step)
            self._saver.check()
            if step % period == 0 or step == last:
                self._save(step, state, position)
        if step > self._saver.saved_at:
            self._save(step, state, position)
        at(Doing.SAVING, step=step)
        self._saver.wait()
        return step

    def _save(self, step: int, state: TrainState, position: Any) -> None:
        with self._saved_if_this_fails(step, state, position):
            self._reports.flush()
        self._watchdog.at(Doing.SAVING)
        self._saver.save(step, state, position=position)
        give_back_free_memory()  # now and then, as `keep_freed_memory` says

    @contextlib.contextmanager
    def _saved_if_this_fails(self, step: int, state: TrainState, position: Any) -> Iterator[None]:
        """Saves when the feed or the reports fail, which have no part in the state."""
        try:
            yield
        except BadNumbersError:
            raise
        except Exception:
            self._watchdog.at(Doing.SAVING)
            self._saver.save_after_error(step, state, position=position)
            raise

    def close(self) -> None:
        """Ends threads and files, also after an error."""
        self._profiler.close()
        self._batches.close()
        self._saver.close()
        self._reports.close()
        self._progress.close()
