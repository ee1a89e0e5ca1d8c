import os
import subprocess
import sys

import pytest

from nmt5.core.allocator import (
    HUGE_PAGES,
    KEPT_MEMORY,
    VARIABLE,
    tunables_of_training,
    with_tunables,
)

PROGRAM = """
import os
from nmt5.core.allocator import HUGE_PAGES, restart_with
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"))
restart_with(HUGE_PAGES)
"""
# Writes 64 MiB, frees them, gives them back; prints what the process holds after each.
HOLDING = """
import mmap
import numpy as np
from nmt5.core.allocator import give_back_free_memory

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE // 2**20

before = held()
block = np.ones(64 * 2**20, np.uint8)
fence = np.ones(2**20, np.uint8)  # a libc that trims its heap's end finds this there
written = held()
del block
freed = held()
give_back_free_memory()
print(written - before, freed - before, held() - before)
"""
needs_glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")


def printed(program: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_choice_that_is_there_stays():
    own = {VARIABLE: "glibc.malloc.hugetlb=0", "OTHER": "1"}
    assert with_tunables(own, HUGE_PAGES) == own
    added = with_tunables(own, HUGE_PAGES | {"glibc.malloc.mmap_max": "0"})
    assert added == {VARIABLE: "glibc.malloc.hugetlb=0:glibc.malloc.mmap_max=0", "OTHER": "1"}


def test_memory_is_kept_where_only_a_cpu_trains(monkeypatch):
    assert tunables_of_training({"JAX_PLATFORMS": "cpu"}) == HUGE_PAGES | KEPT_MEMORY
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert tunables_of_training({}) == HUGE_PAGES
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert tunables_of_training({}) == HUGE_PAGES | KEPT_MEMORY


@needs_glibc
def test_the_process_begins_again_once():
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    first, second = (line.split(maxsplit=1) for line in printed(PROGRAM, environment))
    assert first[0] == second[0]  # the same process
    assert (first[1], second[1]) == ("None", "glibc.malloc.hugetlb=1")


@needs_glibc
def test_freed_memory_stays_until_it_is_given_back():
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    kept = with_tunables(environment, KEPT_MEMORY)
    for settings, after_free in ((environment, 1), (kept, 65)):
        (line,) = printed(HOLDING, settings)
        written, freed, given_back = map(int, line.split())
        assert written == pytest.approx(65, abs=4)
        assert freed == pytest.approx(after_free, abs=4)
        assert given_back == pytest.approx(1, abs=4)
