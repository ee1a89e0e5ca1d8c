"""The process that compiles for a pod: what is read of it, and how it may end."""

import multiprocessing

import pytest

from nmt5.planning import buffers
from nmt5.planning.buffers import CompiledStep, compile_buffers, read_dump
from tests.planning import compiling_children


def test_the_largest_program_of_a_dump_counts(tmp_path):
    assert read_dump(tmp_path) is None
    compiling_children.write_dump(tmp_path, stem="module_1.small.after_optimizations", text="x")
    compiling_children.write_dump(tmp_path)
    found = read_dump(tmp_path)
    assert found == CompiledStep(text="HloModule jit_step", total_bytes=4096)
    assert found.code_bytes is None


def test_a_dump_without_the_memory_of_the_device_is_none(tmp_path):
    compiling_children.write_dump(tmp_path, report="Memory Space: vmem (color=1)\nTotal bytes: 7 (")
    assert read_dump(tmp_path) is None


@pytest.mark.timeout(120)
def test_the_process_is_ended_when_all_is_written(monkeypatch):
    monkeypatch.setattr(buffers, "_compile_in_child", compiling_children.dumps_and_goes_on)
    assert compile_buffers(None, None, None).total_bytes == 4096
    assert not multiprocessing.active_children()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("child", "answer", "message"),
    [
        ("answers", {"text": None, "total_bytes": 2.0**34}, None),
        ("answers", "INTERNAL: Mosaic failed", "the compiler failed: INTERNAL: Mosaic failed"),
        ("dies", None, "ended with exit code 9, without a message"),
    ],
)
def test_the_process_may_end_by_itself(child, answer, message, monkeypatch):
    monkeypatch.setattr(buffers, "_compile_in_child", getattr(compiling_children, child))
    if message is None:
        assert compile_buffers(answer, None, None) == CompiledStep(**answer)
        return
    with pytest.raises(RuntimeError, match=message):
        compile_buffers(answer, None, None)
