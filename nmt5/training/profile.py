"""Where the time of a step goes: a trace of a few steps, and its sum by part of the model.

The compiler's program names, for every operation, the module and scope that it comes from
(`op_name`); the trace says how long each operation ran. Together they give the table that
`nmt5 train --profile` prints. The trace itself stays in the run directory, for TensorBoard or
Perfetto.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import os
import re
import time
from typing import Any, Protocol

from etils import epath
import jax

OPTIMIZER, HEAD = "optimizer", "head"  # scopes that the train step opens
COLLECTIVES, OTHER = "collectives", "other"
# The first pattern that occurs in an operation's name decides.
_PARTS = (
    (HEAD, re.compile(rf"[/(]{HEAD}[/)]|logits_dense")),
    (OPTIMIZER, re.compile(rf"[/(]{OPTIMIZER}[/)]")),
    ("attention", re.compile(r"attention|relpos_bias")),
    ("feed-forward", re.compile(r"/mlp/")),
    ("embedding", re.compile(r"token_embedder")),
    ("norms, residuals", re.compile(r"encoder|decoder")),
)
_COLLECTIVE = re.compile(
    r"^(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)"
)
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?\s([a-z][\w\-]*)\(")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


class Event(Protocol):
    """One operation in a trace; times in nanoseconds."""

    name: str
    start_ns: float
    duration_ns: float
    stats: Any


def part_of(op_name: str, *, opcode: str = "") -> str:
    """Returns the part of a step that an operation belongs to.

    >>> part_of("jit(train_step)/transpose(jvp(Transformer))/encoder/layers_0/mlp/wi_0/dot_general")
    'feed-forward'
    >>> part_of("jit(train_step)/optimizer/mul", opcode="all-reduce")
    'collectives'

    Args:
      op_name: the compiler's `op_name`; empty for operations of its own.
      opcode: what the operation is, for example "fusion".
    """
    if _COLLECTIVE.match(opcode):
        return COLLECTIVES
    return next((part for part, pattern in _PARTS if pattern.search(op_name)), OTHER)


def parts_of_program(text: str) -> dict[str, str]:
    """Returns `{instruction: part}` of a compiled program.

    Loops and calls are left out: what runs inside them is there itself.

    Args:
      text: `jax.stages.Compiled.as_text()`.
    """
    parts = {}
    for line in text.splitlines():
        found = _INSTRUCTION.match(line)
        if found is None or found[2] in ("while", "call", "conditional", "parameter", "tuple"):
            continue
        op_name = _OP_NAME.search(line)
        parts[found[1]] = part_of(op_name[1] if op_name else "", opcode=found[2])
    return parts


def seconds_by_part(lines: Iterable[Iterable[Event]], parts: Mapping[str, str]) -> dict[str, float]:
    """Adds up the time of operations; of nested ones each counts without what is inside it.

    Args:
      lines: the events of each thread or device queue.
      parts: from `parts_of_program`.

    Returns:
      Seconds of each part, over all lines together.
    """
    total: Counter[str] = Counter()
    for events in lines:
        known = [(e, _instruction(e, parts)) for e in events]
        known = [(e, name) for e, name in known if name is not None]
        known.sort(key=lambda pair: (pair[0].start_ns, -pair[0].duration_ns))
        open_until: list[tuple[float, str]] = []
        for event, name in known:
            part, end = parts[name], event.start_ns + event.duration_ns
            while open_until and open_until[-1][0] <= event.start_ns:
                open_until.pop()
            if open_until:
                inside = min(end, open_until[-1][0]) - event.start_ns
                total[open_until[-1][1]] -= inside
            total[part] += event.duration_ns
            open_until.append((end, part))
    return {part: nanoseconds / 1e9 for part, nanoseconds in total.items()}


def _instruction(event: Event, parts: Mapping[str, str]) -> str | None:
    if event.name in parts:
        return event.name
    if event.name.startswith("%"):  # a TPU's events carry the whole instruction
        name = event.name[1:].split(" ", 1)[0]
        return name if name in parts else None
    return next((str(v) for k, v in event.stats if k == "hlo_op" and str(v) in parts), None)


def read_trace(directory: os.PathLike | str) -> list[list[Event]]:
    """Returns the events of each line of the newest trace; of devices only, if it has any.

    Raises:
      FileNotFoundError: no trace is there.
    """
    files = sorted(epath.Path(directory).glob("plugins/profile/*/*.xplane.pb"))
    if not files:
        raise FileNotFoundError(f"no trace in {directory}")
    planes = list(jax.profiler.ProfileData.from_file(os.fspath(files[-1])).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    wanted = [p for p in devices if any(line.name == "XLA Ops" for line in p.lines)] or devices
    if wanted:
        lines = [line for p in wanted for line in p.lines]
        operations = [line for line in lines if line.name == "XLA Ops"]
        return [list(line.events) for line in operations or lines]
    return [list(line.events) for p in planes if p.name == "/host:CPU" for line in p.lines]


def table(parts: Mapping[str, float], *, step_seconds: float, input_seconds: float) -> str:
    """Returns the lines to print: each part's share of what the devices did, and the input's wait.

    Args:
      parts: from `seconds_by_part`.
      step_seconds: time of a step, all in all.
      input_seconds: what of it was spent waiting for a batch.
    """
    busy = sum(parts.values()) or 1.0
    working = step_seconds - input_seconds
    rows = [(part, seconds / busy * working) for part, seconds in parts.items()]
    rows = sorted(rows, key=lambda row: -row[1])
    if COLLECTIVES not in parts:
        rows.append((COLLECTIVES, 0.0))
    rows.append(("input wait", input_seconds))
    lines = [f"where a step's {step_seconds * 1e3:.1f} ms go (devices' time, by part):"]
    for part, seconds in rows:
        lines.append(f"  {part:18} {seconds * 1e3:9.1f} ms  {seconds / step_seconds:6.1%}")
    return "\n".join(lines)


class StepProfiler:
    """Traces a few steps of a run and says where their time went.

    Args:
      directory: for the trace.
      say: takes the text to print.
      skip: steps that go by first: the first ones are no like the others.
      steps: steps to trace; 0 does nothing at all.
    """

    def __init__(
        self,
        directory: os.PathLike | str,
        *,
        say: Callable[[str], None],
        skip: int = 2,
        steps: int = 3,
    ):
        self._directory, self._say, self._skip, self._steps = directory, say, skip, steps
        self._seen, self._waited, self._began = 0, 0.0, 0.0
        self._traces, self._done = False, steps == 0

    @contextlib.contextmanager
    def input(self) -> Iterator[None]:
        """Encloses the wait for a batch."""
        if self._seen == self._skip and not (self._traces or self._done):
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(os.fspath(self._directory), profiler_options=options)
            self._traces, self._began = True, time.perf_counter()
        waits_since = time.perf_counter()
        yield
        if self._traces:
            self._waited += time.perf_counter() - waits_since

    def after_step(self, metrics: Any, *, program: jax.stages.Compiled) -> None:
        """Takes note of a step just dispatched; ends the trace after the last one.

        Args:
          metrics: arrays that are ready when the step is done.
          program: the compiled step.
        """
        self._seen += 1
        if self._done:
            return
        if not self._traces:
            # A step before the trace must be over when it begins.
            if self._seen == self._skip:
                jax.block_until_ready(metrics)
            return
        if self._seen < self._skip + self._steps:
            return
        jax.block_until_ready(metrics)
        seconds = (time.perf_counter() - self._began) / self._steps
        self.close()
        parts = seconds_by_part(read_trace(self._directory), parts_of_program(program.as_text()))
        self._say(
            table(parts, step_seconds=seconds, input_seconds=self._waited / self._steps)
            + f"\ntrace of {self._steps} steps: {self._directory}"
        )

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._traces:
            jax.profiler.stop_trace()
            self._traces, self._done = False, True
