"""Memory of the host that this process can use, as Linux tells it.

It reads /proc, the control groups and `ulimit -v`, and knows nothing of devices.
"""

import os
import resource
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available() -> tuple[int, str]:
    """Returns the bytes that this process can use, and what sets that limit.

    It is the least of three: the system's free memory, that of each control group which
    a container or a scheduler has set, and `ulimit -v`. The memory that the process has
    already counts as usable, because it is reused.
    """
    own = _fields(_PROC / "self/status").get("RssAnon", 0)
    system = _fields(_PROC / "meminfo")
    if "MemAvailable" in system:
        free = system["MemAvailable"] + system.get("SwapFree", 0) + own
    else:  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [(free, "the system has")]
    found += [(n + own, "the limit of its container leaves") for n in _group_memory()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        virtual = _fields(_PROC / "self/status").get("VmSize", 0)
        found.append((soft - virtual + own, "ulimit -v leaves"))
    return min(found)


def _fields(path: Path) -> dict[str, int]:
    """Returns the fields of a file such as /proc/meminfo that are in kB, in bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {name.removesuffix(":"): int(count) << 10 for name, count, _ in words}


def _group_memory() -> list[int]:
    """Returns what each control group of this process and those above it have left.

    Of what a group uses, only memory of processes counts; its files can be dropped.
    """
    left = []
    for directory in _memory_groups():
        limit = _number(directory, "memory.max", "memory.limit_in_bytes")
        if limit is None:
            continue
        used = 0
        for line in _text(directory / "memory.stat").splitlines():
            name, _, count = line.partition(" ")
            # Version 2 counts the groups below too; version 1 has a name for that.
            if name == ("anon" if (directory / "memory.max").exists() else "total_rss"):
                used = int(count)
        left.append(limit - used + _free_swap(directory))
    return left


def _free_swap(directory: Path) -> int:
    """Returns the swap that a control group of version 2 has left."""
    free = _fields(_PROC / "meminfo").get("SwapFree", 0)
    limit = _number(directory, "memory.swap.max")
    if limit is None:  # no limit, unless the group does not account for swap
        has_accounting = (directory / "memory.swap.max").exists()
        return free if has_accounting else 0
    return min(free, limit - (_number(directory, "memory.swap.current") or 0))


def _memory_groups() -> list[Path]:
    """Returns the directories of the control groups that limit memory."""
    found: list[Path] = []
    for line in _text(_PROC / "self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        own = root / name.lstrip("/")
        found += [own, *(path for path in own.parents if path.is_relative_to(root))]
    return found


def _number(directory: Path, *names: str) -> int | None:
    """Returns the number in the first of these files that has one."""
    texts = (_text(directory / name).strip() for name in names)
    return next((int(text) for text in texts if text.isdigit()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
