import io

from nmt5.data.prepare_progress import Progress, ProgressLine, UnitNotes, watch


def at(done, seconds, *, units=4, examples=1000, tokens=20_000, finished=False):
    return Progress(
        units_done=done,
        units=units,
        examples=examples,
        tokens=tokens,
        seconds=seconds,
        finished=finished,
    )


def test_text_has_rate_and_remaining_time():
    assert str(at(1, 100.0)) == (
        "prepare: 1/4 source shards, 1,000 examples, 20,000 tokens, 10 examples/s, 1:40, 5:00 left"
    )
    assert str(at(0, 2.0)).endswith("500 examples/s, 0:02")
    assert "1:00:00 left" in str(at(2, 3600.0))
    assert str(at(4, 2.0)).endswith("0:02, writing the store")
    assert str(at(4, 2.0, finished=True)).endswith("0:02")


def test_plain_lines_now_and_then_and_always_the_last():
    stream = io.StringIO()
    line = ProgressLine(stream, plain_seconds=10)
    for progress in (at(0, 1.0), at(0, 10.0), at(1, 15.0), at(2, 21.0), at(4, 22.0), at(4, 23.0)):
        line(progress)
    line(at(4, 24.0, finished=True))
    assert [text.split()[1] for text in stream.getvalue().splitlines()] == ["0/4", "2/4", "4/4"]


def test_a_terminal_has_one_line():
    stream = io.StringIO()
    stream.isatty = lambda: True
    line = ProgressLine(stream)
    for done in range(5):
        line(at(done, float(done)))
    line(at(4, 5.0, finished=True))
    assert stream.getvalue().count("\n") == 1 and stream.getvalue().count("\r") == 6


def test_watch_adds_up_what_workers_note(tmp_path):
    seen = []
    with watch(str(tmp_path), units=3, callback=seen.append, seconds=60):
        UnitNotes(str(tmp_path), 0).note(examples=5, tokens=50, done=True)
        UnitNotes(str(tmp_path), 1).note(examples=7, tokens=70, done=True)
        (tmp_path / "2").write_text("1")  # a note that is just being written
    (last,) = seen
    assert (last.units_done, last.units, last.examples, last.tokens) == (2, 3, 12, 120)


def test_notes_are_written_at_most_twice_a_second(tmp_path):
    notes = UnitNotes(str(tmp_path), 0)
    notes.note(examples=1, tokens=1)
    assert not list(tmp_path.iterdir())
    notes.note(examples=2, tokens=2, done=True)
    assert (tmp_path / "0").read_text() == "2 2 1"
