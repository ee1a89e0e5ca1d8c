"""What the process asks of glibc's allocator: huge pages, and one place for every step's arrays.

XLA's CPU client allocates the temporary arrays of every step anew, and glibc takes blocks of that
size fresh from the system, which then hands over each page of 4 KiB at its first touch. Writing
0.5 GB took 125,000 faults and 0.42 s of CPU time so; in huge pages 900 faults and 0.09 s (jax
0.10.2, glibc 2.36, 2 cores). Where the system does not offer huge pages, nothing changes.

The host of a virtual machine may take back pages that are free (free page reporting). Where it did,
after a second or two, 0.5 GB took 0.3 to 1.2 s at the next touch instead of 0.05.
glibc can keep freed blocks of that size, but only in the heap that belongs to the main thread: so
that thread is to compute, as it can if there is but one device.
"""

import ctypes
import os
import sys

VARIABLE, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of its malloc.h


def with_huge_pages(environment: dict[str, str]) -> dict[str, str]:
    """Returns the environment of a process whose large arrays are to lie in huge pages.

    >>> with_huge_pages({"GLIBC_TUNABLES": "glibc.malloc.check=1"})
    {'GLIBC_TUNABLES': 'glibc.malloc.check=1:glibc.malloc.hugetlb=1'}

    Args:
      environment: as `os.environ`; a choice that it has already stays.
    """
    present = environment.get(VARIABLE, "")
    if "glibc.malloc.hugetlb" in present:
        return dict(environment)
    return dict(environment) | {VARIABLE: ":".join(filter(None, [present, SETTING]))}


def restart_with_huge_pages() -> None:
    """Begins this process again with huge pages, which glibc reads at a process's start only.

    To be called before anything slow is imported; does nothing the second time and off Linux.
    """
    wanted = with_huge_pages(dict(os.environ))
    if not sys.platform.startswith("linux") or wanted == dict(os.environ):
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def compute_in_main_thread() -> None:
    """Has XLA's CPU client compute in the thread that asks for it, unless on several devices.

    To be called before JAX makes the client. Python's work between two steps no longer goes on
    beside a step; on a CPU it takes the step's time anyway. Other threads are kept out of the
    heap of this one, which glibc lets them share where they are many. Does nothing where libc is
    not glibc.
    """
    if (libc := _glibc()) is not None:
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)
        libc.mallopt(_M_ARENA_MAX, 2**16)


def give_back_free_memory() -> None:
    """Returns pages that nobody uses to the system; does nothing where libc is not glibc."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def keep_freed_memory() -> None:
    """What the main thread frees from here on is kept for it; nothing where libc is not glibc.

    Other threads keep what they free in heaps of up to 64 MiB each. If a small block that stays is
    made while a large one is in use, the next large one may no longer fit where that was.
    `give_back_free_memory` now and then bounds what lies idle so.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def _glibc():
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    return libc if hasattr(libc, "malloc_trim") else None
