"""A run that is killed again and again must end as the one that never was.

    python benchmarks/chaos.py                      50 faults, some minutes on 2 cores
    python benchmarks/chaos.py --faults 4

A tiny run on the CPU is started, hit at a random moment, and started again:

    SIGKILL              at any instruction: while it starts, trains, or saves
    SIGTERM              it must save and exit with code 0
    truncated            killed, and the newest complete checkpoint loses the end of a file
    flipped bit          killed, and one bit of a file of the newest complete checkpoint changes
    full disk            no byte is free until it ends; it must say so and exit with code 2

The disk is a file system of a few MB, mounted where only this program sees it; where that is not
allowed, ENOSPC is injected instead, and the output says so. At the end every array of the last
checkpoint (parameters, optimizer, step) must have the bits of the unbroken run, what was drawn of
each task must be the same, and metrics.jsonl must have every step once with the same losses.
Prints a row per fault and per bar, and exits with 1 if a bar is missed.
"""

import argparse
import collections
import contextlib
import dataclasses
import errno
import json
import multiprocessing
from multiprocessing.process import BaseProcess
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

KINDS = {"SIGKILL": 20, "SIGTERM": 10, "truncated": 7, "flipped bit": 7, "full disk": 6}
DISK_BYTES = 48 << 20
SAVE_EVERY, EVALUATE_EVERY = 5, 60
FULL_FLAG, FILLER = "disk-is-full", "filler"
_PATIENCE_SECONDS = 400
# Each life is forked from a process that has imported what it needs and started nothing yet, which
# saves most of its 8 s of CPU time.
_LIVES = multiprocessing.get_context("forkserver")
_LIVES.set_forkserver_preload(["nmt5.training.loop", "orbax.checkpoint"])
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def write_store(root: Path):
    """Writes a little text of two languages and pairs of them; returns the mixture over it."""
    from array_record.python import array_record_module

    from nmt5.data import store
    from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds

    ids = TokenIds(size=300, num_sentinels=20, fingerprint="c" * 64)
    rng = np.random.default_rng(0)

    def text(length):
        return (np.arange(length) * rng.integers(1, 4) + rng.integers(100)) % 200 + 10

    def split(directory, name, records, languages, options):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}-00000-of-00001.arrayrecord"
        writer = array_record_module.ArrayRecordWriter(str(path), options)
        for record in records:
            writer.write(store.encode_record(record))
        writer.close()
        shard = store.ShardInfo(
            file=path.name, num_records=len(records), sha256=store.file_sha256(path)
        )
        tokens = {
            language: sum(len(record[i]) for record in records)
            for i, language in enumerate(languages)
        }
        return store.SplitInfo(
            num_records=len(records),
            examples=len(records),
            tokens=tokens,
            dropped={},
            cut=0,
            lengths={},
            shards=(shard,),
        )

    def corpus(name, languages, records, *, segment_tokens, options):
        info = store.CorpusInfo(
            name=name,
            languages=languages,
            vocabulary=ids.fingerprint,
            vocabulary_size=ids.size,
            segment_tokens=segment_tokens,
            source="",
            splits={
                part: split(root / name, part, some, languages, options)
                for part, some in (("train", records), ("validation", records[:6]))
            },
        )
        store.write_corpus_info(root, info)

    for language in ("en", "fr"):
        corpus(
            f"text.{language}",
            (language,),
            [(text(40),) for _ in range(60)],
            segment_tokens=40,
            options=store.SEGMENT_WRITER_OPTIONS,
        )
    pairs = [(text(rng.integers(3, 10)), text(rng.integers(3, 10))) for _ in range(120)]
    corpus(
        "pair.en-fr",
        ("en", "fr"),
        pairs,
        segment_tokens=None,
        options=store.PAIR_WRITER_OPTIONS,
    )
    mlm = tuple(
        TaskSpec(name=f"mlm.{x}", corpus=f"text.{x}", languages=(x,), rate=rate)
        for x, rate in (("en", 3.0), ("fr", 1.0))
    )
    nmt = tuple(
        TaskSpec(name=f"nmt.{a}_{b}", corpus="pair.en-fr", languages=(a, b), rate=1.0, prefix=(4,))
        for a, b in (("en", "fr"), ("fr", "en"))
    )
    groups = (
        GroupSpec(objective="span_corruption", settings={}, share=0.5, tasks=mlm),
        GroupSpec(objective="nmt", settings={}, share=0.5, tasks=nmt),
    )
    return Mixture(name="chaos", vocabulary=ids, groups=groups)


def run_config(work: Path, *, run_dir: Path, steps: int, save_every: int):
    """The settings of both runs: dropout on, so that randomness must be resumed too."""
    from nmt5.checkpoints.manager import CheckpointConfig
    from nmt5.data.layout import DataConfig
    from nmt5.model.config import model_config
    from nmt5.partitioning.mesh import MeshConfig
    from nmt5.training.loop import RunConfig, TrainConfig
    from nmt5.training.optimizer import OptimizerConfig
    from nmt5.training.step import LossConfig

    return RunConfig(
        train=TrainConfig(
            run_dir=str(run_dir),
            train_steps=steps,
            log_period_steps=1,
            eval_period_steps=EVALUATE_EVERY,
            eval_rows=4,
            compilation_cache=str(work / "compiled"),
        ),
        model=model_config(
            "tiny", vocab_size=384, num_encoder_layers=1, num_decoder_layers=1, dropout_rate=0.1
        ),
        data=DataConfig(
            mixture="chaos",
            store=str(work / "store"),
            inputs_length=32,
            encoder_tokens_per_batch=256,
        ),
        optimizer=OptimizerConfig(
            schedule="constant", learning_rate=0.01, min_dim_size_to_factor=32, beta1=0.9
        ),
        loss=LossConfig(),
        mesh=MeshConfig(),
        checkpoint=CheckpointConfig(period_steps=save_every, keep=3),
    )


def live(work: Path, run_dir: Path, told: Path, errors: Path, *, steps: int, pause: float) -> None:
    """One life of the run, in a process of its own.

    Args:
      work: directory of store, mixture and compiled programs.
      run_dir: of the run.
      told: file that gets each step, and how the life ended.
      errors: file that gets the run's messages.
      steps: of the run.
      pause: seconds by which each step is slowed down.
    """
    for path, descriptor in ((told, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    from nmt5.core.errors import UserError
    from nmt5.data.mixture import read_mixture
    from nmt5.training.loop import train
    from nmt5.training.progress import Progress

    class Told(Progress):
        def update(self, step):
            print(step, flush=True)
            time.sleep(pause)

    _inject_full_disk(run_dir / FULL_FLAG)
    # The run that is not hit is not slowed down, and saves at its end only.
    save_every = SAVE_EVERY if pause else steps
    config = run_config(work, run_dir=run_dir, steps=steps, save_every=save_every)
    try:
        outcome = train(config, mixture=read_mixture(work / "mixture.json"), progress=Told)
    except UserError as error:
        print(f"nmt5 train: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    print(outcome.how, flush=True)


def _inject_full_disk(flag: Path) -> None:
    """Makes writes of metrics and checksums fail while `flag` exists (never on a real disk)."""
    from nmt5.checkpoints import manager
    from nmt5.training import metrics

    write_line, write_checksums = metrics.JsonLinesWriter.write, manager.write_checksums

    def check():
        if flag.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def line(self, step, values):
        from nmt5.core.files import storage_faults

        with storage_faults("writing metrics", flag.parent):
            check()
        write_line(self, step, values)

    def checksums(directory):
        check()
        write_checksums(directory)

    metrics.JsonLinesWriter.write, manager.write_checksums = line, checksums


@dataclasses.dataclass
class Life:
    """One life of the run, as seen from outside."""

    code: int
    reached: int | None
    how: str
    errors: str


class Chaos:
    """The run that is hit, and what has happened to it.

    Args:
      work: directory of store, mixture and compiled programs.
      run_dir: on the small disk.
      steps: of the run.
      pause: seconds by which a step is slowed down.
      seed: of moments and places.
      is_mounted: whether the disk is small in truth.
    """

    def __init__(
        self, work: Path, run_dir: Path, *, steps: int, pause: float, seed: int, is_mounted: bool
    ):
        self._work, self._run_dir = work, run_dir
        self._steps, self._pause = steps, pause
        self._random = random.Random(seed)
        self._is_mounted = is_mounted
        self._told, self._errors = work / "told", work / "errors"
        self._startup = 3.0
        self._furthest = 0
        self._expected_damage = ""
        self.repeated = 0
        self.faults: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def hit(self, kind: str) -> str:
        """Starts the run and hits it; returns what happened."""
        early = kind == "SIGKILL" and self._random.random() < 0.3
        process = self._start()
        if early:
            after = self._random.uniform(0.0, self._startup)
            process.join(after)
            moment = f"{after:.1f} s after its start"
        else:
            began = time.monotonic()
            self._until_it_trains(process)
            self._startup = min(time.monotonic() - began, 30.0)
            if kind in ("truncated", "flipped bit"):
                self._until_it_saved_twice(process)
            after = self._random.uniform(0.0, 12 * self._pause)
            process.join(after)
            moment = f"{after:.2f} s after its first step"
        if kind == "full disk":
            self._fill(process)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL)
        life = self._end(process)
        self._free()
        self._judge(kind, life)
        self.faults[kind] += 1
        damage = self._damage(kind) if kind in ("truncated", "flipped bit") else ""
        return f"{kind} {moment}, step {life.reached}{damage}"

    def finish(self) -> None:
        """Lets the run come to its end."""
        process = self._start(pause=0.0)
        life = self._end(process)
        if life.code or life.how not in ("finished", "was finished"):
            self.wrong.append(
                f"the last life: code {life.code}, '{life.how}': {life.errors[-1000:]}"
            )

    def _start(self, *, pause: float | None = None) -> BaseProcess:
        self._told.write_text("")
        self._errors.write_text("")
        process = _LIVES.Process(
            target=live,
            args=(self._work, self._run_dir, self._told, self._errors),
            kwargs={"steps": self._steps, "pause": self._pause if pause is None else pause},
        )
        process.start()
        return process

    def _until_it_trains(self, process: BaseProcess) -> None:
        while process.is_alive() and "\n" not in self._told.read_text():
            time.sleep(0.01)

    def _until_it_saved_twice(self, process: BaseProcess) -> None:
        from nmt5.checkpoints.manager import complete_steps

        while process.is_alive() and len(complete_steps(self._run_dir / "checkpoints")) < 2:
            time.sleep(0.05)

    def _end(self, process: BaseProcess) -> Life:
        process.join(_PATIENCE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            self.wrong.append(f"a life did not end within {_PATIENCE_SECONDS} s of its fault")
        lines, errors = self._told.read_text().split("\n"), self._errors.read_text()
        told = [int(line) for line in lines if line.isdecimal()]
        if f"damaged checkpoint {self._expected_damage}" in errors:
            self._expected_damage = ""
        if self._expected_damage and told:
            self.wrong.append(f"damage of {self._expected_damage} was not named")
        if told:
            self.repeated += max(self._furthest - (told[0] - 1), 0)
            self._furthest = max(self._furthest, told[-1])
        how = next((line for line in reversed(lines) if line and not line.isdecimal()), "")
        return Life(process.exitcode, told[-1] if told else None, how, errors)

    def _judge(self, kind: str, life: Life) -> None:
        if life.how in ("finished", "was finished"):
            self.wrong.append("the run came to its end before the last fault; raise --steps")
            return
        expected = {"SIGTERM": 0, "full disk": 2}.get(kind, -signal.SIGKILL)
        said = {"SIGTERM": "SIGTERM: saving a checkpoint", "full disk": "the disk is full"}
        if life.code != expected or said.get(kind, "") not in life.errors:
            self.wrong.append(
                f"{kind}: code {life.code}, expected {expected}: {life.errors[-600:]}"
            )

    def _fill(self, process: BaseProcess) -> None:
        """Leaves no byte free until the process ends; what it removes meanwhile is filled too."""
        if not self._is_mounted:
            (self._run_dir / FULL_FLAG).touch()
            return
        deadline = time.monotonic() + 120
        with open(self._run_dir.parent / FILLER, "wb", buffering=0) as file:
            while process.is_alive() and time.monotonic() < deadline:
                for size in (1 << 20, 1 << 12):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(size))
                time.sleep(0.02)

    def _free(self) -> None:
        (self._run_dir / FULL_FLAG).unlink(missing_ok=True)
        (self._run_dir.parent / FILLER).unlink(missing_ok=True)

    def _damage(self, kind: str) -> str:
        """Breaks a file of the newest complete checkpoint."""
        from nmt5.checkpoints.manager import complete_steps

        directory = self._run_dir / "checkpoints"
        steps = complete_steps(directory)
        newest = directory / f"checkpoint_{steps[-1]}"
        listed = json.loads((newest / "checksums.json").read_text())["files"]
        name = self._random.choice(sorted(name for name, f in listed.items() if f["bytes"]))
        content = bytearray((newest / name).read_bytes())
        if kind == "truncated":
            content = content[: self._random.randrange(len(content))]
        else:
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        (newest / name).write_bytes(bytes(content))
        self._expected_damage = str(newest)
        return f", then {name} of checkpoint_{steps[-1]}"


def final_state(run_dir: Path, step: int) -> dict[str, np.ndarray]:
    """Returns every array of the last checkpoint by its path."""
    import jax
    import orbax.checkpoint as ocp

    path = run_dir / "checkpoints" / f"checkpoint_{step}" / "state"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        found = checkpointer.restore(
            path, args=ocp.args.PyTreeRestore(item=tree, restore_args=restore_args)
        )
    return {
        jax.tree_util.keystr(key): np.asarray(leaf)
        for key, leaf in jax.tree_util.tree_leaves_with_path(found)
    }


def differing_arrays(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Returns the paths of arrays that do not have the same bits."""
    return sorted(
        path
        for path in one.keys() | other.keys()
        if path not in one
        or path not in other
        or one[path].dtype != other[path].dtype
        or one[path].tobytes() != other[path].tobytes()
    )


def lost_lines(whole: Path, hit: Path) -> int:
    """Counts steps whose numbers are missing, twice there, or others than the unbroken run's."""
    from nmt5.training.metrics import read_metrics

    def numbers(run_dir):
        found = collections.defaultdict(list)
        for line in read_metrics(run_dir / "metrics.jsonl"):
            for name, value in line.items():
                if name.startswith(("train/", "heldout/")):
                    found[line["step"], name].append(value)
        return found

    one, other = numbers(whole), numbers(hit)
    differing = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    return len({step for step, _ in differing})


def lost_examples(whole: Path, hit: Path) -> int:
    """Counts examples that were drawn by one run only, task by task."""

    def drawn(run_dir):
        tasks = json.loads((run_dir / "sampled.json").read_text())["tasks"]
        return {task["task"]: task["examples"] for task in tasks}

    one, other = drawn(whole), drawn(hit)
    return sum(abs(one[task] - other[task]) for task in one)


def schedule(number: int, *, seed: int) -> list[str]:
    """Returns kinds of faults in random order, in the proportions of `KINDS`."""
    order = [kind for kind, count in KINDS.items() for _ in range(count)]
    rounds = -(-number // len(order))
    if number < len(order):
        # One of each before any twice, so that a short run has the rare ones too.
        order = sorted(order, key=lambda kind: kind)
        seen: collections.Counter[str] = collections.Counter()
        numbered = []
        for kind in order:
            numbered.append((seen[kind] / KINDS[kind], kind))
            seen[kind] += 1
        order = [kind for _, kind in sorted(numbered)][:number]
    chosen = (order * rounds)[:number]
    random.Random(seed).shuffle(chosen)
    return chosen


def chaos(work: Path, disk: Path, args: argparse.Namespace, *, is_mounted: bool) -> int:
    """Does the whole; returns the exit code."""
    from nmt5.data.mixture import write_mixture

    steps = args.steps or max(14 * args.faults, 3 * EVALUATE_EVERY)
    began = time.monotonic()
    write_mixture(write_store(work / "store"), work / "mixture.json")
    whole = Chaos(
        work, work / "whole", steps=steps, pause=0.0, seed=args.seed, is_mounted=is_mounted
    )
    whole.finish()
    if whole.wrong:
        print("\n".join(whole.wrong))
        return 1
    print(f"{steps} steps unbroken; {os.cpu_count()} CPU cores", flush=True)
    how = (
        f"a file system of {DISK_BYTES >> 20} MiB, filled up"
        if is_mounted
        else "injected ENOSPC (no file system may be mounted here)"
    )
    print(f"full disk: {how}", flush=True)
    run = Chaos(
        work, disk / "hit", steps=steps, pause=args.pause, seed=args.seed, is_mounted=is_mounted
    )
    for number, kind in enumerate(schedule(args.faults, seed=args.seed), 1):
        print(f"{number:3} {run.hit(kind)}", flush=True)
        if run.wrong:
            break
    run.finish()
    print(f"\n{'fault':<14}{'injected':>9}")
    for kind in KINDS:
        print(f"{kind:<14}{run.faults[kind]:>9}")
    if run.wrong:
        print("\n" + "\n".join(run.wrong))
        return 1
    lost = lost_examples(work / "whole", disk / "hit")
    lines = lost_lines(work / "whole", disk / "hit")
    arrays = final_state(work / "whole", steps)
    differing = differing_arrays(arrays, final_state(disk / "hit", steps))
    print(f"\nwork repeated: {run.repeated} steps of {steps} ({run.repeated / steps:.0%})")
    print(f"{time.monotonic() - began:.0f} s\n")
    bars = [
        ("faults injected", sum(run.faults.values()), args.faults),
        (f"arrays that differ, of {len(arrays)}", len(differing), 0),
        ("examples drawn by one run only", lost, 0),
        ("steps whose numbers are lost or differ", lines, 0),
    ]
    for name, found, wanted in bars:
        print(f"{name:<42}{found:>6}  bar {wanted:>4}  {'pass' if found == wanted else 'FAIL'}")
    return int(any(found != wanted for _, found, wanted in bars))


def mount(disk: Path) -> bool:
    """Mounts a small file system at `disk`; returns whether that was allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main() -> None:
    """Reads the arguments; first goes where mounting does not concern others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=sum(KINDS.values()))
    parser.add_argument("--steps", type=int, help="of the run (14 per fault)")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds added to each step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    if not args.inside:
        try:
            allowed = subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False)
            own_mounts = allowed.returncode == 0
        except FileNotFoundError:
            own_mounts = False
        if own_mounts:
            os.execvp(_NAMESPACE[0], [*_NAMESPACE, sys.executable, *sys.argv, "--inside"])
    with tempfile.TemporaryDirectory(prefix="nmt5-chaos-") as directory:
        disk = Path(directory) / "disk"
        disk.mkdir()
        is_mounted = args.inside and mount(disk)
        code = chaos(Path(directory), disk, args, is_mounted=is_mounted)
        if is_mounted:
            subprocess.run(["umount", str(disk)], check=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
