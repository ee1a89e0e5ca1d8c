"""Keeps the temporary arrays of two steps from lying in memory at once, on CPU.

XLA's CPU client allocates a step's temporary arrays, one block, as soon as the step before
announces its results, which that one does before it frees its own block. Whether the two overlap is
chance. Where they do the process grows by a block, and as freed memory stays in it
(`nmt5.core.allocator`) it remains so.
"""

import time
from typing import Any

import jax

# Smaller blocks may overlap; a short step would feel the wait.
LARGE_BYTES = 64 * 2**20
# From a step's results to its memory being free: the end of a function in another thread.
SECONDS_TO_FREE = 0.001


def runs_alone(step: jax.stages.Compiled, *, device: jax.Device) -> bool:
    """Whether a step should begin only when the one before has given its memory back."""
    if device.platform != "cpu":
        return False
    memory = step.memory_analysis()
    return memory is not None and memory.temp_size_in_bytes >= LARGE_BYTES


def wait_for_memory(results: Any) -> None:
    """Waits for the step that makes `results`, and until its temporary arrays are freed."""
    jax.block_until_ready(results)
    time.sleep(SECONDS_TO_FREE)
