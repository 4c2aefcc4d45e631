"""Settings of a process before JAX starts: peers, memory, cache of compiled programs.

They change how long a computation takes, and none of its numbers.
"""

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

import jax

from gpt1_jax import files, terminal
from gpt1_jax.config import MeshConfig, RunConfig
from gpt1_jax.data import cached
from gpt1_jax.distributed import multihost
from gpt1_jax.errors import UserError

# From glibc's malloc.h. A C library without mallopt, such as musl, is left as it is.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST_INT = 2**31 - 1
_ALONE = RunConfig(mesh=MeshConfig(distributed="off"))


def prepare(config: RunConfig = _ALONE) -> None:
    """Applies all settings. Every job and command that runs a model calls it first."""
    keep_freed_memory()
    keep_compiled_programs(config.data.cache_dir)
    multihost.join(config)
    start_devices()


def start_devices() -> None:
    """Starts JAX's devices.

    Raises: UserError: those that JAX_PLATFORMS names cannot be started.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        # JAX asserts, without a message, that one of the named platforms started.
        reason = str(error) or "JAX has started no device"
        platforms = os.environ.get("JAX_PLATFORMS", "")
        given = f"JAX_PLATFORMS={platforms}" if platforms else "the devices"
        raise UserError(
            f"{given}: {reason}; a platform that this machine and this installation "
            "have is expected; unset JAX_PLATFORMS, install JAX for it, or set "
            "JAX_PLATFORMS=cpu"
        ) from None


def keep_compiled_programs(cache_dir: str) -> None:
    """Sets `cache_dir`/compiled as JAX's cache of compiled programs.

    Compiling is most of what a short run does. A directory that is already set, for
    example by JAX_COMPILATION_CACHE_DIR, is kept. Machines that share a home directory
    but have other processor instructions keep their programs apart. A directory that
    cannot be written is left out with a warning.
    """
    # mypy does not see the attributes that JAX adds to its config when it starts.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        try:
            directory = cached.root(cache_dir) / "compiled" / _processor()
            files.check_writable(directory, cached.CACHE_REMEDY)
        except UserError as error:
            terminal.warn(f"compiled programs are not kept: {error}")
            return
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """Returns a name for the instruction set of this machine's processor."""
    facts = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        named = ("model name", "flags", "Features")  # on x86 and on ARM
        facts += "".join(sorted({line for line in lines if line.startswith(named)}))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def keep_freed_memory() -> None:
    """Makes glibc keep freed buffers for the next step, if there is only a CPU.

    XLA allocates the buffers of each step again. By default glibc returns large ones to
    the system at once, and the next step takes a page fault for every 4 KB. One arena
    without mmap keeps them. It must be called before JAX starts its threads.
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
