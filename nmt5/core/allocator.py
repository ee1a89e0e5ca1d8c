"""How glibc hands out memory, so that a step on CPU does not spend its time on page faults.

XLA's CPU client allocates the temporary arrays of every step anew, in one block, and glibc takes
a block of that size fresh from the system, which hands over each page at its first touch.

*Huge pages*: writing 0.5 GB took 125,000 faults and 0.42 s of CPU time in pages of 4 KiB, 900
faults and 0.09 s in huge ones (jax 0.10.2, glibc 2.36, 2 cores). Where the system does not offer
them, nothing changes.

*Kept memory*: a virtual machine may have to fetch even huge pages from its host again, which made
single steps up to 40% longer. So memory of a training process stays in it when it is freed. Only
glibc's first arena can keep large blocks, hence there is no other. Threads would queue for it (cold
starts took 9.5 instead of 7.5 s) if they did not keep more small blocks to themselves (7.9 s). And
what is free for good has to be given back by hand (`give_back_free_memory`).

glibc reads these settings at a process's start only: https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html
"""

from collections.abc import Mapping
import ctypes
import importlib.util
import os
import sys

VARIABLE = "GLIBC_TUNABLES"
HUGE_PAGES = {"glibc.malloc.hugetlb": "1"}
KEPT_MEMORY = {
    "glibc.malloc.mmap_max": "0",
    "glibc.malloc.trim_threshold": "1000000000000",
    "glibc.malloc.arena_max": "1",
    "glibc.malloc.tcache_count": "2000",
}


def with_tunables(environment: Mapping[str, str], tunables: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a process for which glibc is to be set so.

    >>> with_tunables({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, HUGE_PAGES)
    {'GLIBC_TUNABLES': 'glibc.malloc.check=1:glibc.malloc.hugetlb=1'}

    Args:
      environment: as `os.environ`; a choice that it has already stays.
      tunables: names and values.
    """
    chosen = [setting for setting in environment.get(VARIABLE, "").split(":") if setting]
    names = {setting.partition("=")[0] for setting in chosen}
    added = [f"{name}={value}" for name, value in tunables.items() if name not in names]
    return dict(environment) | ({VARIABLE: ":".join(chosen + added)} if added else {})


def tunables_of_training(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns what suits a process that trains: memory is kept where a CPU is all there is.

    Args:
      environment: as `os.environ`; asked instead of JAX, whose import comes later.
    """
    only_cpu = environment.get("JAX_PLATFORMS") == "cpu" or not any(
        importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu")
    )
    return HUGE_PAGES | (KEPT_MEMORY if only_cpu else {})


def restart_with(tunables: Mapping[str, str]) -> None:
    """Begins this process again with settings of glibc.

    To be called before anything slow is imported; does nothing the second time and off Linux.
    """
    wanted = with_tunables(os.environ, tunables)
    if not sys.platform.startswith("linux") or wanted == dict(os.environ):
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def give_back_free_memory() -> None:
    """Returns pages that nobody uses to the system; does nothing where libc is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
