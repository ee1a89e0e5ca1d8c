"""Asking a run to stop: once politely, twice at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from nmt5.training.interruption import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_is_a_request_and_handlers_are_given_back(number):
    before = signal.getsignal(number)
    lines = []
    with StopRequest() as stop:
        stop.say = lines.append
        assert not stop.is_due(1)
        os.kill(os.getpid(), number)
        assert stop.is_due(1)
        assert stop.requested == signal.Signals(number).name
    assert lines == [
        f"{stop.requested}: saving a checkpoint, then stopping; once more stops at once"
    ]
    assert signal.getsignal(number) is before


def test_second_signal_ends_the_process_at_once():
    code = (
        "import os, signal\nfrom nmt5.training.interruption import StopRequest\n"
        "with StopRequest():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('too long', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stdout == "still here\n"
    assert "SIGTERM: saving a checkpoint" in done.stderr


def test_a_signal_in_the_middle_of_a_line_is_told_all_the_same(capfd):
    def busy(line):
        raise RuntimeError("reentrant call")

    with StopRequest() as stop:
        stop.say = busy
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == "SIGTERM"
    assert "SIGTERM: saving, then stopping" in capfd.readouterr().err


def test_a_notice_from_another_thread():
    with StopRequest() as stop:
        stop.say = lambda line: None
        thread = threading.Thread(target=stop.preempted)
        thread.start()
        thread.join()
        assert stop.is_due(3)
        assert stop.requested == "preemption notice"
