"""Filters the log of JAX's distributed runtime after a process of the run has ended.

When the first process of a run is gone, the runtime prints stack traces and aborts all
others within a millisecond. A thread of gpt1_jax.distributed.peers says what happened,
but needs a few. If it has not noticed, the line of the runtime is the message.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Callable

from gpt1_jax import errors

# A line of absl's log begins so; a message of several lines, and a trace, follow it.
_LOGGED = re.compile(rb"[IWEF]\d{4} [\d:.]+ +\d+ (\S+):\d+\] ")
_RUNTIME_FILES = re.compile(rb"coordination_\w+\.cc|preemption_\w+\.cc|client\.h")

# By then another thread has said what happened, and abort() still sleeps.
_NEWS_SECONDS = 3.0


def subdue(end: Callable[[str, int], None]) -> None:
    """Delays aborts of this process, and drops the runtime's log from its errors.

    Args: end: ends the process with a message and an exit code, after the runtime has
          logged that it aborts and nothing else has ended the process.
    """
    _delay_aborts()
    if sys.stderr is not None:  # it is None where the caller has closed it
        _filter_errors(end)


def _delay_aborts() -> None:
    """Makes abort() sleep before it ends the process, in the thread that calls it.

    The C function sleep() handles SIGABRT. Its argument, the seconds to sleep, is then
    the number of the signal: 6. No Python code runs in the handler.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _filter_errors(end: Callable[[str, int], None]) -> None:
    """Sends what C++ code writes to standard error through a filter.

    Python writes to the original file, without the filter.
    """
    sys.stderr.flush()
    try:
        is_usual = sys.stderr.fileno() == 2
    except (OSError, ValueError):
        is_usual = False  # a notebook's
    original = os.dup(2)
    if is_usual:
        sys.stderr = os.fdopen(original, "w", buffering=1, errors="backslashreplace")
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    threading.Thread(target=_forward, args=(read, original, end), daemon=True).start()


def _forward(read: int, original: int, end: Callable[[str, int], None]) -> None:
    """Copies lines from one file to another, without those of the runtime."""
    is_dropped = False
    with os.fdopen(read, "rb") as lines:
        for line in lines:
            if logged := _LOGGED.match(line):
                is_dropped = bool(_RUNTIME_FILES.fullmatch(logged[1]))
                if is_dropped and line.startswith(b"F"):  # it aborts after such a line
                    _end_later(line[logged.end() :].decode(errors="replace"), end)
            if not is_dropped:
                with contextlib.suppress(OSError):
                    os.write(original, line)


def _end_later(line: str, end: Callable[[str, int], None]) -> None:
    """Ends the process with a line of the runtime, unless it has ended by itself."""
    message = (
        f"JAX's distributed runtime ended: {line.strip().rstrip('.;')}; look at the "
        "output of the other processes, then start all of them again"
    )
    timer = threading.Timer(_NEWS_SECONDS, end, (message, errors.FAILED))
    timer.daemon = True
    timer.start()
