import os
import signal
import subprocess
import sys
import time

import pytest

from nmt5.core.errors import DataError, ProcessError
from nmt5.data.worker_processes import call, worker_processes


def fail():
    raise DataError("a.tsv: line 3: 1 column, expected 2")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_work_under_their_name_and_end_with_it():
    assert call("none", os.getpid) == os.getpid()
    with worker_processes("some", 2):
        pids = {call("some", os.getpid) for _ in range(4)}
        assert os.getpid() not in pids
        assert call("none", os.getpid) == os.getpid()
    assert not any(map(is_alive, pids))
    assert call("some", os.getpid) == os.getpid()


def test_a_users_error_comes_back_as_it_is():
    with worker_processes("some", 1):
        with pytest.raises(DataError, match=r"a\.tsv: line 3"):
            call("some", fail)
        assert call("some", abs, -1) == 1


def test_a_process_that_is_killed_is_named():
    with worker_processes("some", 1), pytest.raises(ProcessError, match="for want of memory"):
        call("some", os._exit, 1)


PARENT = """
import os, signal
from nmt5.data.worker_processes import call, worker_processes
with worker_processes("some", 1):
    print(call("some", os.getpid), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_after_a_parent_that_was_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert parent.wait() == -signal.SIGKILL
    parent.stdout.close()
    end = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(worker)
