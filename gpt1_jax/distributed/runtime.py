"""What a process is set to before JAX starts: peers, memory, compiled programs.

It changes how long things take, not any number that is computed.
"""

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

import jax

from gpt1_jax.config import DataConfig, MeshConfig
from gpt1_jax.distributed import multihost

# Of glibc's malloc.h; a library without mallopt, as musl or macOS's, is left alone.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST_INT = 2**31 - 1
_ALONE = MeshConfig(distributed="off")


def prepare(cache_dir: str = DataConfig.cache_dir, mesh: MeshConfig = _ALONE) -> None:
    """All of the below; every job and command that runs a model begins with it."""
    keep_freed_memory()
    keep_compiled_programs(cache_dir)
    multihost.join(mesh)


def keep_compiled_programs(cache_dir: str) -> None:
    """Lets JAX look for compiled programs in `cache_dir`/compiled, and put them there.

    Compiling is most of what a short run does. A directory that JAX was given already,
    as by JAX_COMPILATION_CACHE_DIR, is left to it. Machines that share a home but not
    their processor's instructions keep their programs apart.
    """
    # JAX makes the attributes of its config as it starts.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        directory = Path(cache_dir).expanduser() / "compiled" / _processor()
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """A name for the instructions that this machine's processor has."""
    facts = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        named = ("model name", "flags", "Features")  # as x86 and ARM call them
        facts += "".join(sorted({line for line in lines if line.startswith(named)}))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


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
    """Returns whether JAX may find one; asking JAX itself would start its threads."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms != "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None
