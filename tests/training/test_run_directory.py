"""One process at a time, and what it leaves of itself."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest

from nmt5.core.errors import StorageError
from nmt5.model.config import model_config
from nmt5.training.run_directory import plain, record_start, run_lock, settings_text


def test_second_holder_is_refused_and_told_who_holds(tmp_path):
    with run_lock(tmp_path / "run"):
        code = (
            "from nmt5.training.run_directory import run_lock\n"
            f"with run_lock({str(tmp_path / 'run')!r}): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert "is in use by process" in done.stderr
    with run_lock(tmp_path / "run"):
        pass


def test_lock_of_a_dead_process_is_taken_over(tmp_path):
    code = (
        "import os, signal\nfrom nmt5.training.run_directory import run_lock\n"
        f"with run_lock({str(tmp_path)!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert "process" in (tmp_path / ".lock").read_text()
    with run_lock(tmp_path):
        pass


def test_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="a file stands where a directory is needed"),
        run_lock(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.EROFS, "the file system is read-only"), (errno.EACCES, "no permission")],
)
def test_directory_that_cannot_be_written(tmp_path, monkeypatch, number, message):
    # By a raised error: root, as which containers run the tests, may write anywhere.
    def refuse(path, mode="r"):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with (
        pytest.raises(StorageError, match=f"making the run directory: .*{message}"),
        run_lock(tmp_path),
    ):
        pass


def test_settings_are_sorted_lines():
    text = settings_text({"model_config": model_config("tiny"), "A": {"path": None, "n": (1, 2)}})
    lines = text.splitlines()
    assert lines == sorted(lines)
    assert lines[:2] == ["A.n: [1, 2]", "A.path: null"]
    assert "model_config.emb_dim: 32" in lines
    assert json.loads(json.dumps(plain(model_config("tiny"))))["head_dim"] == 8


def test_every_start_is_recorded(tmp_path):
    record_start(tmp_path, {"kind": "scratch"})
    record_start(tmp_path, {"kind": "resume"})
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert [start["kind"] for start in starts] == ["scratch", "resume"]
    assert all(start["time"].endswith("+00:00") for start in starts)
