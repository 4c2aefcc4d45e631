"""How the C library keeps the memory that steps on a CPU give back.

It changes the process, not any number that is computed in it.
"""

import ctypes
import importlib.metadata
import importlib.util
import os

# Of glibc's malloc.h; a library without mallopt, as musl or macOS's, is left alone.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Lets this process keep freed buffers for its next step, if it has only a CPU.

    XLA allocates a step's buffers anew each time. By default glibc hands large ones
    back to the system at once, and the next step takes a page fault for every 4 KB. One
    arena without mmap keeps them. To be called before JAX starts its threads.
    """
    if _may_have_accelerator():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST_INT)


def _may_have_accelerator() -> bool:
    """Whether JAX may find one; asking JAX itself would start its threads."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms != "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None
