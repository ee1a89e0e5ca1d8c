"""Stalls: a feed that makes nothing, a step that does not end, processes that make others wait."""

import io
import os
import subprocess
import sys
import threading

import pytest

from nmt5.core.errors import StallError
from nmt5.training.interruption import StopRequest
from nmt5.training.peers import Peers
from nmt5.training.prefetch import Ahead
from nmt5.training.watchdog import Doing, Watchdog

LIMIT = 0.2


class Told(io.StringIO):
    """A stream that says when something was written."""

    def __init__(self):
        super().__init__()
        self.event = threading.Event()

    def flush(self):
        self.event.set()


def _watchdog(stream, *, stops=False, stop=None):
    return Watchdog(
        limit_seconds=LIMIT,
        stops=stops,
        stop=stop or StopRequest(),
        saved=lambda: "saved up to step 4",
        stream=stream,
    )


def _never():
    threading.Event().wait(30)
    yield 0


def test_stalled_feed_is_told_with_the_stack_of_its_thread():
    stream = Told()
    batches = Ahead(_never(), name="feed")
    with _watchdog(stream) as dog:
        dog.at(Doing.INPUT, step=7)
        assert stream.event.wait(20)
        dog.raise_if_stalled()  # it was not asked to stop the run
    text = stream.getvalue()
    assert "no sign of life for" in text
    assert "at step 7: input starved" in text
    assert "thread 'feed'" in text
    assert "_never" in text
    assert "thread 'MainThread'" in text
    batches._closed.set()


def test_stop_is_asked_for_and_a_starved_loop_can_follow():
    """What the loop does: it waits for a batch, is told to stop, and goes on to save."""
    stream, stop = Told(), StopRequest()
    stop.say = lambda line: None
    batches = Ahead(_never(), name="feed")
    with _watchdog(stream, stops=True, stop=stop) as dog:
        dog.at(Doing.INPUT, step=7)
        assert batches.next(unless=lambda: stop.requested is not None) is None
    assert stop.requested == "watchdog"
    with pytest.raises(StallError, match="at step 7: input starved"):
        dog.raise_if_stalled()
    batches._closed.set()


def test_signs_of_life_keep_it_quiet_and_a_stall_is_told_again_only_when_doubled(monkeypatch):
    stream = Told()
    now = [0.0]
    monkeypatch.setattr("nmt5.training.watchdog.time.monotonic", lambda: now[0])
    told = []
    dog = _watchdog(stream)
    monkeypatch.setattr(dog, "_tell", lambda line: told.append(now[0]))
    monkeypatch.setattr(dog, "_stand_in", lambda: None)

    class Ticks:
        """Each wait is a tick of the clock; the loop gives a sign until second 1."""

        def wait(self, seconds):
            now[0] = round(now[0] + seconds, 6)
            if now[0] < 1:
                dog.at(Doing.STEP)
            return now[0] > 3

    dog._closed = Ticks()
    dog._watch()
    lengths = [at - 0.975 for at in told]
    assert lengths == pytest.approx([0.2, 0.4, 0.8, 1.6], abs=0.15)  # to a few ticks


_STUCK = """
import threading, time
from nmt5.training.interruption import StopRequest
from nmt5.training.watchdog import Doing, Watchdog
stop = StopRequest()
with Watchdog(limit_seconds=0.2, stops=True, stop=stop, saved=lambda: "saved up to step 4") as dog:
    dog.at(Doing.STEP, step=5)
    time.sleep(60)
"""


def test_process_ends_when_a_stalled_step_cannot_be_stopped():
    done = subprocess.run(
        [sys.executable, "-c", _STUCK],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 2
    assert "at step 5: the devices have not finished a step" in done.stderr
    assert "thread 'MainThread':\n    File \"<string>\", line 8" in done.stderr
    assert "so the process ends; saved up to step 4" in done.stderr


class Store:
    """The coordination service's key-value store, shared by all processes of a test."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value, *, allow_overwrite):
        assert allow_overwrite
        self.values[key] = value

    def key_value_dir_get(self, prefix):
        return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]


def test_processes_that_keep_this_one_waiting_are_named():
    store = Store()
    peers = [Peers(store, process=i, processes=4) for i in range(4)]
    for process, (step, doing) in {0: (7, "step"), 1: (6, "input"), 2: (7, "step")}.items():
        peers[process].publish(step=step, doing=doing)

    def pause(seconds):
        assert seconds == 0.5
        peers[1].publish(step=6, doing="input")  # alive, and starved
        peers[2].publish(step=7, doing="step")  # alive, and waiting like process 0

    found = peers[0].behind(step=7, doing="step", pause=pause, each=0.5)
    assert found == "process 1 (step 6, input), process 3 (no sign)"
    # A process that stops giving signs is told from one that waits.
    found = peers[0].behind(step=7, doing="step", pause=lambda _: None, each=0.5)
    assert found == "process 1 (no sign), process 2 (no sign), process 3 (no sign)"


def test_a_process_alone_waits_for_nobody():
    peers = Peers(process=0, processes=1)
    peers.publish(step=1, doing="step")
    assert peers.behind(step=1, doing="step", pause=lambda _: None, each=1.0) == ""
