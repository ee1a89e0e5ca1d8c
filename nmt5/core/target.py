"""Which platform the program under construction is for.

Most often the one that runs it. `nmt5 plan` compiles for a TPU on a machine that has none: a
choice by platform must then follow the target, not `jax.default_backend()`.
"""

from collections.abc import Iterator
import contextlib
import contextvars

import jax

_target: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def target_platform() -> str:
    """Returns "cpu", "gpu" or "tpu": what the function that is being traced will run on."""
    return _target.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """What is traced inside is meant for `platform`, whatever this machine has."""
    token = _target.set(platform)
    try:
        yield
    finally:
        _target.reset(token)
