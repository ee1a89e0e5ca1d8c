"""The step for a TPU pod, compiled until its buffers have their places: all that a plan asks for.

Nine tenths of libtpu's time go into machine code, operation by operation, of which a plan would use
nothing but the size. XLA writes the optimised program and its memory down just before
(`xla_dump_to`), so a process of its own compiles, and is ended as soon as both are there. Where
libtpu does not write them down, that process compiles to the end and reports the same from there.
"""

from collections.abc import Mapping
import dataclasses
import multiprocessing
import pathlib
import re
import tempfile
from typing import Any

import jax

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import Mixture
from nmt5.planning.topologies import Topology, topology_devices
from nmt5.training.run_config import RunConfig
from nmt5.training.step_program import StepProgram, step_program

_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledStep:
    """What the compiler says of a step.

    Attributes:
      text: the optimised program; None where it gave up for lack of memory.
      total_bytes: memory of one device: arguments, results and temporaries, or what it would need.
      code_bytes: of the machine code, part of the total; None where none was generated.
    """

    text: str | None
    total_bytes: float
    code_bytes: float | None = None


def compile_whole(
    program: StepProgram, *, options: Mapping[str, str] | None = None
) -> CompiledStep:
    """Compiles a step to the end, for whatever devices its mesh has.

    Args:
      program: the step.
      options: of XLA.
    """
    try:
        compiled = program.lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        needed = needed_bytes(str(error))
        if needed is None:
            raise
        return CompiledStep(text=None, total_bytes=needed)
    used = compiled.memory_analysis()
    total = used.argument_size_in_bytes + used.temp_size_in_bytes
    total += used.output_size_in_bytes - used.alias_size_in_bytes
    return CompiledStep(
        text=compiled.as_text(),
        total_bytes=total + used.generated_code_size_in_bytes,
        code_bytes=used.generated_code_size_in_bytes,
    )


def compile_buffers(config: RunConfig, mixture: Mixture, topology: Topology) -> CompiledStep:
    """Compiles the step of a run for a pod until its buffers have their places.

    Raises:
      RuntimeError: the compiler failed for another reason than memory; with its message.
    """
    spawn = multiprocessing.get_context("spawn")  # threads of JAX do not survive a fork
    ours, theirs = spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="nmt5_plan_") as directory:
        child = spawn.Process(
            target=_compile_in_child,
            args=(directory, config, mixture, topology, theirs),
            daemon=True,
        )
        child.start()
        theirs.close()
        try:
            return _wait(pathlib.Path(directory), child, ours)
        finally:
            child.kill()
            child.join()


def _wait(directory: pathlib.Path, child: Any, connection: Any) -> CompiledStep:
    while True:
        if (dumped := read_dump(directory)) is not None:
            return dumped
        if connection.poll(_POLL_SECONDS):
            try:
                answer = connection.recv()
            except EOFError:
                child.join()
                raise RuntimeError(
                    f"plan: the compiling process ended with exit code {child.exitcode}, without "
                    "a message; is there enough memory?"
                ) from None
            if isinstance(answer, dict):
                return CompiledStep(**answer)
            raise RuntimeError(f"plan: the compiler failed: {answer}")


def read_dump(directory: pathlib.Path) -> CompiledStep | None:
    """Returns what XLA wrote down of the largest program there; None if a part is missing.

    The program is written first, its memory after it.
    """
    programs = directory.glob("*.after_optimizations.txt")
    for program in sorted(programs, key=lambda file: -file.stat().st_size):
        stem = program.name.removesuffix(".txt")
        report = directory / f"{stem}-memory-usage-report.txt"
        if report.exists() and (total := hbm_bytes(report.read_text())) is not None:
            return CompiledStep(text=program.read_text(), total_bytes=total)
    return None


def hbm_bytes(report: str) -> float | None:
    """Returns a device's memory from XLA's report, whose first space is the main memory.

    >>> hbm_bytes("Memory Space: default (color=0)\\nTotal bytes: 1780222976 (1.66GiB)\\n")
    1780222976.0
    """
    found = re.search(r"^Memory Space: default .*\nTotal bytes: (\d+) ", report, re.MULTILINE)
    return None if found is None else float(found.group(1))


def needed_bytes(message: str) -> float | None:
    """Returns the bytes that a program would have needed, from XLA's refusal; None if it is none.

    >>> needed_bytes("RESOURCE_EXHAUSTED: Ran out of memory. Used 17.5G of 15.75G hbm.") / 2**30
    17.5
    """
    used = re.search(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])", message)
    if "RESOURCE_EXHAUSTED" not in message or used is None:
        return None
    return float(used.group(1)) * 2 ** (10 * ("KMGT".index(used.group(2)) + 1))


def _compile_in_child(directory, config, mixture, topology, connection) -> None:
    jax.config.update("jax_platforms", "cpu")
    try:
        program = step_program(config, mixture, devices=topology_devices(topology))
        found = compile_whole(program, options={"xla_dump_to": directory})
        connection.send(dataclasses.asdict(found))
    except (ConfigError, jax.errors.JaxRuntimeError) as error:
        connection.send(str(error))
