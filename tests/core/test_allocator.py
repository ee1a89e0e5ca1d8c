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
