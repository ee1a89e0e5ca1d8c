import os
from pathlib import Path
import platform
import subprocess
import sys

import pytest

from nmt5.core.allocator import VARIABLE, with_huge_pages

PROGRAM = """
import os
from nmt5.core.allocator import restart_with_huge_pages
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"))
restart_with_huge_pages()
"""
# Writes small blocks, frees all but the last and gives them back; prints MiB held after each.
HOLDING = """
import mmap
from nmt5.core.allocator import give_back_free_memory

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE // 2**20

before = held()
blocks = [bytes(2**14) + b"x" for _ in range(64 * 64)]
written = held()
del blocks[:-1]
freed = held()
give_back_free_memory()
print(written - before, freed - before, held() - before)
"""


# Computes with a temporary array of 64 MiB; prints MiB held after the second time, and how many
# pages a later one touched anew: most often, as a small block may still come in the way at times.
STEPS = """
import mmap, resource, statistics, sys
from nmt5.core.allocator import compute_in_main_thread, give_back_free_memory, keep_freed_memory
if sys.argv[1] == "kept":
    compute_in_main_thread()
import jax, jax.numpy as jnp

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE // 2**20

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step(x):
    whole = jax.lax.optimization_barrier(jnp.broadcast_to(x, 2**24) + 1)
    return jnp.sum(whole * jnp.flip(whole))

x = jnp.ones(())
compiled = jax.jit(step).lower(x).compile()
assert compiled.memory_analysis().temp_size_in_bytes >= 2**26
if sys.argv[1] == "kept":
    keep_freed_memory()
compiled(x).block_until_ready()
give_back_free_memory()
before = held()
compiled(x).block_until_ready()
print(held() - before)
touched = []
for _ in range(11):
    start = faults()
    compiled(x).block_until_ready()
    touched.append(faults() - start)
print(statistics.median(touched))
"""


def test_a_choice_that_is_there_stays():
    own = {VARIABLE: "glibc.malloc.hugetlb=0", "OTHER": "1"}
    assert with_huge_pages(own) == own


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_the_process_begins_again_once():
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    first, second = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert first[0] == second[0]  # the same process
    assert (first[1], second[1]) == ("None", "glibc.malloc.hugetlb=1")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
@pytest.mark.parametrize("kept", [True, False])
def test_a_step_has_the_memory_of_the_one_before(kept):
    environment = os.environ | {VARIABLE: "glibc.malloc.hugetlb=0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, "kept" if kept else "given back"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    held, touched = map(int, done.stdout.split())
    if kept:
        assert held > 60
        assert touched < 1_000
    elif "[always]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        assert touched >= 64 * 256  # pages of 4 KiB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_free_memory_is_given_back():
    done = subprocess.run(
        [sys.executable, "-c", HOLDING], capture_output=True, text=True, check=True
    )
    written, freed, given_back = map(int, done.stdout.split())
    assert written > 60
    assert freed > 60  # the last block holds the heap's end
    assert given_back < 8
