"""The chaos benchmark, in short: one fault of each kind."""

import pathlib
import subprocess
import sys

import pytest

CHAOS = pathlib.Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_hit_by_every_kind_of_fault_is_the_unbroken_run():
    command = [sys.executable, str(CHAOS), "--faults", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("SIGKILL", "SIGTERM", "truncated", "flipped bit", "full disk"):
        assert f"{kind:<14}{1:>9}" in done.stdout
    assert "FAIL" not in done.stdout
