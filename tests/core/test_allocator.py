import os
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_free_memory_is_given_back():
    done = subprocess.run(
        [sys.executable, "-c", HOLDING], capture_output=True, text=True, check=True
    )
    written, freed, given_back = map(int, done.stdout.split())
    assert written > 60
    assert freed > 60  # the last block holds the heap's end
    assert given_back < 8
