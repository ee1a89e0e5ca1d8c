"""The display, on a terminal and off it."""

import io

import pytest

from nmt5.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_lines_off_a_terminal(clock):
    stream = io.StringIO()
    progress = Progress(total=100, start=40, stream=stream, clock=clock)
    progress.say("hello")
    clock.now = 30.0  # compiling, and the first step
    progress.begin()
    progress.update(41)
    clock.now = 48.0
    progress.log(50, "loss 3.0")
    clock.now = 150.0
    progress.log(100, "loss 2.0")
    progress.close()
    # 9 steps took 18 s, so 50 more take 100 s.
    assert stream.getvalue().splitlines() == [
        "hello",
        "step 50/100  1m40s left  loss 3.0",
        "step 100/100  took 2m00s  loss 2.0",
    ]


def test_bar_on_a_terminal_is_redrawn_and_makes_room_for_lines(clock):
    stream = Terminal()
    progress = Progress(total=10, start=0, stream=stream, clock=clock)
    progress.begin()
    for step in range(1, 6):
        clock.now += 1.0
        progress.update(step)
    progress.say("saved")
    progress.log(5, "loss 3.0")
    progress.close()
    text = stream.getvalue()
    assert text.count("\r\x1b[K") == 7  # five updates, one line, one log
    assert "\r\x1b[Ksaved\n" in text
    assert text.endswith("\n")
    last = text.rsplit("\r\x1b[K", 1)[1]
    assert last.startswith("████████████············ 5/10")
    assert "loss 3.0" in last


def test_bar_is_drawn_at_most_ten_times_a_second(clock):
    stream = Terminal()
    progress = Progress(total=1000, start=0, stream=stream, clock=clock)
    for step in range(1, 101):
        clock.now += 0.01
        progress.update(step)
    assert stream.getvalue().count("\r") <= 11
