"""How fast a training step is: beside Hugging Face torch MT5, and against the machine's peak.

    python benchmarks/train.py [--peer_python /path/to/python] [--rows step_250112,loss,...]

    step_250112, step_32128   whole steps of mT5-small's dimensions, 8 x 128/64, float32, Adafactor,
                              dropout 0, all tokens real; tokens/s and peak memory, ours / torch's
    kept                      pages of memory that a step has the kernel make, against one that
                              computes in XLA's thread and keeps nothing (`nmt5.core.allocator`)
    loss                      memory of the loss at 8,192 target tokens, from XLA's own account
    stacks                    forward and backward of the two stacks alone, against the measured
                              matrix product
    cold                      `nmt5 train --gin_file=gin/demo.gin` from command to first step
    gpu                       whole steps in bfloat16 against 989 TFLOP/s; one H200

The peer is a Python that has torch and transformers (this one, if it has); without one its rows say
"not measured". Every measurement is a process of its own, ours and the peer's by turns; figures are
medians. Model operations are those of `nmt5.training.flops`. Exits with 1 below a bar.
"""

import argparse
from collections.abc import Callable
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
from pathlib import Path
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from nmt5.core.allocator import with_huge_pages  # noqa: E402

ROWS, INPUTS, TARGETS = 8, 128, 64
ROUNDS = 3
LOSS_TOKENS, VOCABULARY = 8_192, 250_112
# Ratio of tokens/s, ratio of peak memory (None: not a bar).
STEP_BARS = {250_112: (1.8, 1.0), 32_128: (1.3, None)}
STACK_BARS = {(4, 512, 512): 0.6, (8, 128, 64): 0.45}
GPU_BARS = {"mt5_small": 0.35, "mt5_base": 0.42, "mt5_large": 0.50, "mt5_xl": 0.55}
GPU_ROWS = {"mt5_small": 256, "mt5_base": 128, "mt5_large": 64, "mt5_xl": 32}
COLD_BAR, WARM_BAR = 10.0, 5.0
KEPT_BAR = 0.1
H200_PEAK = 989e12

# Runs in an environment that need not have JAX or nmt5.
PEER = """
import json, resource, sys, time
import torch, transformers
vocab, rows, inputs, targets, steps = map(int, sys.argv[1:6])
name = sys.argv[6]
torch.manual_seed(0)
config = transformers.MT5Config(
    vocab_size=vocab, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_heads=6,
    feed_forward_proj="gated-gelu", dropout_rate=0.0, use_cache=False, tie_word_embeddings=False,
    decoder_start_token_id=0)
model = transformers.MT5ForConditionalGeneration(config).train()
if name == "torch":
    optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-2)
else:
    optimizer = transformers.Adafactor(
        model.parameters(), lr=1e-2, scale_parameter=True, relative_step=False, warmup_init=False)
random = torch.Generator().manual_seed(0)
ids = torch.randint(3, vocab, (rows, inputs), generator=random)
labels = torch.randint(3, vocab, (rows, targets), generator=random)
seconds = []
for _ in range(steps + 1):
    began = time.perf_counter()
    loss = model(input_ids=ids, labels=labels).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss.item()
    seconds.append(time.perf_counter() - began)
print(json.dumps({
    "seconds": seconds[1:],
    "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "what": f"({torch.get_num_threads()} threads, transformers {transformers.__version__}, "
            f"torch {torch.__version__})"}))
"""


def random_batch(rows: int, inputs_length: int, targets_length: int, vocab: int) -> dict:
    """Returns one group of the train step's features, all tokens real, one example a row."""
    import numpy as np

    from nmt5.core import features

    random = np.random.default_rng(0)
    ids = random.integers(3, vocab, (rows, inputs_length), dtype=np.int32)
    targets = random.integers(3, vocab, (rows, targets_length), dtype=np.int32)
    return {
        features.ENCODER_INPUT_TOKENS: ids,
        features.ENCODER_SEGMENT_IDS: np.ones_like(ids),
        features.DECODER_INPUT_TOKENS: np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        features.DECODER_TARGET_TOKENS: targets,
        features.DECODER_SEGMENT_IDS: np.ones_like(targets),
        features.DECODER_LOSS_WEIGHTS: np.ones_like(targets),
    }


def timed_steps(
    model, *, shape: tuple[int, int, int], steps: int, keeps_memory: bool = True
) -> dict[str, list]:
    """Returns `seconds` of whole train steps, compiled as `nmt5 train` compiles them.

    Args:
      model: the model's configuration.
      shape: rows, inputs and targets of a batch.
      steps: how many are timed, after a first one.
      keeps_memory: False computes in XLA's own thread and gives a step's memory back after it.

    Returns:
      Beside `seconds`, the `pages` of memory that each step had the kernel make.
    """
    import jax

    from nmt5.core.allocator import (
        compute_in_main_thread,
        give_back_free_memory,
        keep_freed_memory,
    )
    from nmt5.model.parameters import init_params
    from nmt5.training.optimizer import OptimizerConfig
    from nmt5.training.state import init_state
    from nmt5.training.step import LossConfig, StepConfig, train_step

    if keeps_memory:
        compute_in_main_thread()  # as `nmt5 train` does
    config = StepConfig(model=model, optimizer=OptimizerConfig(), loss=LossConfig())
    state = init_state(init_params(model, seed=0), optimizer=config.optimizer)
    batch = jax.device_put({"objective": random_batch(*shape, model.vocab_size)})
    step = functools.partial(train_step, config=config)
    step = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    give_back_free_memory()
    if keeps_memory:
        keep_freed_memory()
    seconds, pages = [], []
    for _ in range(steps + 1):
        began, had = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        state, metrics = step(state, batch)
        loss = float(metrics["loss"])
        seconds.append(time.perf_counter() - began)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - had)
        if len(seconds) == 1:
            give_back_free_memory()
    if loss != loss:
        raise SystemExit("the loss is not a number")
    return {"seconds": seconds[1:], "pages": pages[1:]}


def child_step(vocab: int, steps: int, keeps_memory: int = 1) -> dict:
    """Measures whole steps on CPU."""
    from nmt5.model.config import model_config

    model = model_config("mt5_small", vocab_size=vocab)
    shape, keeps = (ROWS, INPUTS, TARGETS), bool(keeps_memory)
    found = timed_steps(model, shape=shape, steps=steps, keeps_memory=keeps)
    return found | {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def child_loss() -> dict:
    """Reads from the compiled loss what it keeps beside arguments and gradients."""
    import jax
    import jax.numpy as jnp

    from nmt5.model.losses import head_cross_entropy

    width = 512

    def loss(hidden_ND, head_DV, targets_N):
        return head_cross_entropy(
            hidden_ND, head_DV, targets_N, jnp.ones(LOSS_TOKENS), z_loss=1e-4
        ).objective

    shapes = (
        jax.ShapeDtypeStruct((LOSS_TOKENS, width), jnp.float32),
        jax.ShapeDtypeStruct((width, VOCABULARY), jnp.float32),
        jax.ShapeDtypeStruct((LOSS_TOKENS,), jnp.int32),
    )
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*shapes).compile()
    memory = compiled.memory_analysis()
    grads = 4 * (LOSS_TOKENS * width + width * VOCABULARY)
    extra = memory.temp_size_in_bytes + memory.output_size_in_bytes - grads
    return {"extra": extra, "whole": 4 * LOSS_TOKENS * VOCABULARY}


def child_stack(rows: int, inputs_length: int, targets_length: int, steps: int) -> dict:
    """Measures forward and backward of the stacks of mT5-small, and the matrix product."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nmt5.core import features
    from nmt5.model.config import model_config
    from nmt5.model.network import Transformer
    from nmt5.model.parameters import init_params
    from nmt5.training.flops import forward_flops, measured_matmul_flops_per_second

    config = model_config("mt5_small", vocab_size=512)  # a table too small to be seen
    group = jax.device_put(random_batch(rows, inputs_length, targets_length, config.vocab_size))
    params = init_params(config, seed=0)
    direction = np.random.default_rng(1).standard_normal((rows, targets_length, config.emb_dim))

    def projected(params, group):
        hidden_BTD = Transformer(config).apply(
            {"params": params},
            group[features.ENCODER_INPUT_TOKENS],
            group[features.DECODER_INPUT_TOKENS],
            group[features.DECODER_TARGET_TOKENS],
            encoder_segment_ids=group[features.ENCODER_SEGMENT_IDS],
            decoder_segment_ids=group[features.DECODER_SEGMENT_IDS],
            method="hidden_states",
        )
        return jnp.sum(hidden_BTD * direction)

    gradient = jax.jit(jax.grad(projected))
    jax.block_until_ready(gradient(params, group))
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        jax.block_until_ready(gradient(params, group))
        seconds.append(time.perf_counter() - began)
    head = 2 * targets_length * config.emb_dim * config.vocab_size
    one_row = forward_flops(config, inputs_length=inputs_length, targets_length=targets_length)
    return {
        "seconds": seconds,
        "flops": 3 * rows * (one_row - head),
        "peak": measured_matmul_flops_per_second(),
    }


def child_gpu(size: str, inputs_length: int, targets_length: int, steps: int) -> dict:
    """Measures whole steps of a published size on one GPU."""
    import jax

    from nmt5.model.config import model_config
    from nmt5.training.flops import forward_flops

    if jax.default_backend() != "gpu":
        return {"device": None}
    model = model_config(size, dtype="bfloat16", scan_layers=size in ("mt5_large", "mt5_xl"))
    rows = GPU_ROWS[size] * 512 // inputs_length
    found = timed_steps(model, shape=(rows, inputs_length, targets_length), steps=steps)
    one_row = forward_flops(model, inputs_length=inputs_length, targets_length=targets_length)
    return {
        "device": jax.devices()[0].device_kind,
        "seconds": found["seconds"],
        "flops": 3 * rows * one_row,
    }


def in_process(kind: str, *arguments: object, platform: str | None = "cpu") -> dict:
    """Runs one measurement of this file in a fresh process."""
    command = [sys.executable, __file__, "--child", kind, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    environment = with_huge_pages(environment)  # as `nmt5 train` does
    if platform:
        environment["JAX_PLATFORMS"] = platform
    else:
        environment.pop("JAX_PLATFORMS", None)
    return _json_of(command, environment, what=f"{kind} {arguments}")


def _json_of(command: list[str], environment: dict, *, what: str) -> dict:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"measuring {what} failed; see above")
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(runs: dict[str, Callable[[], dict]]) -> dict[str, dict]:
    """Makes each of several measurements of steps `ROUNDS` times, one after the other.

    A machine that others share runs faster in one minute than in the next, so whoever is measured
    once may have had the better minute.

    Args:
      runs: `{name: measurement}`; each gives lists with an entry for each step, and `gib`.

    Returns:
      `{name: figures}`, lists of all rounds put together and the largest `gib`.
    """
    rounds = []
    for _ in range(ROUNDS):
        one = {name: run() for name, run in runs.items()}
        medians = (f"{name} {statistics.median(part['seconds']):.2f}" for name, part in one.items())
        print("      medians of one round, s/step: " + ", ".join(medians), flush=True)
        rounds.append(one)
    found = {}
    for name in runs:
        parts = [one[name] for one in rounds]
        lists = {key for key, value in parts[0].items() if isinstance(value, list)}
        found[name] = parts[0] | {key: sum((part[key] for part in parts), []) for key in lists}
        found[name]["gib"] = max(part["gib"] for part in parts)
    return found


@dataclasses.dataclass
class Bars:
    """Prints each row with its verdict and remembers failures."""

    failed: int = 0

    def check(self, what: str, found: float, bar: float, *, at_most: bool = False) -> None:
        """Prints one measured row."""
        passed = found <= bar if at_most else found >= bar
        self.failed += not passed
        sign = "<=" if at_most else ">="
        verdict = "pass" if passed else "FAIL"
        print(f"{verdict}  {what:66} {found:8.3g}  bar {sign} {bar:g}", flush=True)

    def skip(self, what: str, why: str) -> None:
        """Prints a row that this machine cannot measure."""
        print(f"----  {what:66} not measured: {why}", flush=True)


def step_row(bars: Bars, vocab: int, *, peer_python: str | None, steps: int) -> None:
    """Compares whole steps with those of the peer, which has a choice of two Adafactors."""
    runs = {"ours": functools.partial(in_process, "step", vocab, steps)}
    for name in ("torch", "transformers") if peer_python else ():
        command = [peer_python, "-c", PEER, *map(str, (vocab, ROWS, INPUTS, TARGETS, steps)), name]
        what = f"the peer with {name}'s Adafactor"
        runs[name] = functools.partial(_json_of, command, dict(os.environ), what=what)
    found = in_turn(runs)
    medians = {name: statistics.median(figures["seconds"]) for name, figures in found.items()}
    for name, figures in found.items():
        rate = ROWS * (INPUTS + TARGETS) / medians[name]
        print(f"      {name}: {medians[name]:.2f} s/step, {rate:.0f} tokens/s, "
              f"{figures['gib']:.2f} GiB {figures.get('what', '')}")  # fmt: skip
    ours, second = found.pop("ours"), medians.pop("ours")
    least, most = STEP_BARS[vocab]
    row = f"vocabulary {vocab:,}, tokens/s, ours / Hugging Face"
    if not found:
        bars.skip(row, "no Python with torch and transformers; give --peer_python")
        return
    faster = min(medians, key=medians.get)
    bars.check(row, medians[faster] / second, least)
    if most is not None:
        memory = ours["gib"] / found[faster]["gib"]
        bars.check(f"vocabulary {vocab:,}, peak memory, ours / theirs", memory, most, at_most=True)


def kept_row(bars: Bars, *, steps: int) -> None:
    """Checks that a step finds the memory of the one before."""
    row = "pages made in a step, memory kept / given back"
    if not platform.libc_ver()[0].startswith("glibc"):
        bars.skip(row, "libc is not glibc, whose memory alone is kept")
        return
    runs = {
        name: functools.partial(in_process, "step", VOCABULARY, steps, keeps)
        for name, keeps in (("kept", 1), ("given back", 0))
    }
    found = in_turn(runs)
    for name, figures in found.items():
        seconds, pages = figures["seconds"], statistics.median(figures["pages"])
        print(f"      {name}: {statistics.median(seconds):.2f} s/step, slowest {max(seconds):.2f}, "
              f"{pages:.0f} pages made in a step, {figures['gib']:.2f} GiB")  # fmt: skip
    kept, given_back = (statistics.median(found[name]["pages"]) for name in runs)
    bars.check(row, kept / given_back, KEPT_BAR, at_most=True)


def loss_row(bars: Bars) -> None:
    """Checks the loss's memory."""
    found = in_process("loss")
    bars.check(
        f"memory of the loss / whole logits ({found['whole'] / 2**30:.1f} GiB)",
        found["extra"] / found["whole"],
        0.05,
        at_most=True,
    )


def stack_rows(bars: Bars, *, steps: int) -> None:
    """Checks the use that the stacks make of the CPU."""
    for shape, bar in STACK_BARS.items():
        found = in_process("stack", *shape, steps)
        rate = found["flops"] / statistics.median(found["seconds"])
        print(f"      {rate / 1e9:.0f} of {found['peak'] / 1e9:.0f} Gflop/s")
        rows, inputs_length, targets_length = shape
        what = f"stacks alone, {rows} x {inputs_length}/{targets_length}, share of the peak"
        bars.check(what, rate / found["peak"], bar)


def gpu_rows(bars: Bars, *, steps: int) -> None:
    """Checks the use that whole steps make of one H200."""
    for size, bar in GPU_BARS.items():
        for inputs_length, targets_length in ((512, 114), (1024, 229)):
            row = f"one H200, bfloat16, {size} {inputs_length}/{targets_length}, share of the peak"
            if shutil.which("nvidia-smi") is None:
                bars.skip(row, "no such GPU")
                continue
            found = in_process("gpu", size, inputs_length, targets_length, steps, platform=None)
            if "H200" not in (found["device"] or ""):
                bars.skip(row, f"no such GPU (found {found['device']})")
                continue
            rate = found["flops"] / statistics.median(found["seconds"])
            bars.check(row, rate / H200_PEAK, bar)


def seconds_to_first_step(work: Path, number: int) -> float:
    """Starts the demo's first training in `work` and returns the time to its first step."""
    command = [
        sys.executable, "-m", "nmt5.cli.main", "train", f"--gin_file={ROOT}/gin/demo.gin",
        "--gin_scope=base", f"--gin.base/TrainConfig.run_dir='run{number}'",
        "--gin.TrainConfig.log_period_steps=1",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # modules stay compiled, as they commonly do
    began, heard = time.perf_counter(), []
    process = subprocess.Popen(
        command, cwd=work, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        for line in process.stderr:
            heard.append(line)
            if line.startswith("step 1/"):
                return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()
    raise SystemExit("the demo's training did not come to its first step:\n" + "".join(heard))


def cold_rows(bars: Bars, *, demo: Path | None, repeats: int) -> None:
    """Measures starts without and with compiled programs on disk."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (work / "runs").mkdir()
        if demo is None:
            environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
            for command in ("vocabulary", "prepare"):
                subprocess.run(
                    [sys.executable, "-m", "nmt5.cli.main", command,
                     f"--gin_file={ROOT}/gin/demo.gin"],
                    cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL,
                )  # fmt: skip
        else:
            # Links to text and vocabulary; compiled programs are this benchmark's own.
            (work / "runs" / "demo").mkdir()
            for name in ("store", "vocabulary"):
                (work / "runs" / "demo" / name).symlink_to((demo / name).resolve())
        cache = work / "runs" / "demo" / "compilation_cache"
        cold, warm = [], []
        for number in range(repeats):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(seconds_to_first_step(work, 2 * number))
            warm.append(seconds_to_first_step(work, 2 * number + 1))
    row = "gin/demo.gin, seconds from the command to the first step"
    bars.check(row, statistics.median(cold), COLD_BAR, at_most=True)
    bars.check(row + ", compiled before", statistics.median(warm), WARM_BAR, at_most=True)


def find_peer(given: str | None) -> str | None:
    """Returns the Python of the peer: the one given, or this one if it has all that is needed."""
    if given:
        return given
    has_all = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    return sys.executable if has_all else None


def main() -> int:
    """Measures, prints, and returns 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer_python", help="a Python that has torch and transformers")
    parser.add_argument("--rows", default="step_250112,step_32128,kept,loss,stacks,cold,gpu")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each measurement")
    parser.add_argument("--demo", type=Path, help="runs/demo of a finished `make demo`")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, *values = args.child
        children = {
            "step": child_step, "loss": child_loss, "stack": child_stack, "gpu": child_gpu,
        }  # fmt: skip
        print(json.dumps(children[kind](*(int(v) if v.isdigit() else v for v in values))))
        return 0
    if args.steps < 1:
        parser.error(f"--steps is {args.steps}, expected 1 or more")
    if args.peer_python and shutil.which(args.peer_python) is None:
        parser.error(f"--peer_python: no program {args.peer_python}")
    bars, peer, steps = Bars(), find_peer(args.peer_python), args.steps
    rows = {
        "step_250112": lambda: step_row(bars, 250_112, peer_python=peer, steps=steps),
        "step_32128": lambda: step_row(bars, 32_128, peer_python=peer, steps=steps),
        "kept": lambda: kept_row(bars, steps=2 * steps),
        "loss": lambda: loss_row(bars),
        "stacks": lambda: stack_rows(bars, steps=2 * steps),
        "cold": lambda: cold_rows(bars, demo=args.demo, repeats=3),
        "gpu": lambda: gpu_rows(bars, steps=2 * steps),
    }
    names = args.rows.split(",")
    if unknown := sorted(set(names) - set(rows)):
        parser.error(f"--rows: no row {', '.join(unknown)}; there are {', '.join(rows)}")
    for name in names:
        rows[name]()
    return int(bars.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
