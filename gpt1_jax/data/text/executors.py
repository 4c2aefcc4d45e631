"""Executors of independent work: one thread, local processes, or a Dask cluster."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from gpt1_jax.errors import RunFailed, UserError

_MAX_DEFAULT_WORKERS = 6
_CONNECT_SECONDS = 20


def choose(
    workers: int, dask: str, *, is_worth_processes: bool
) -> contextlib.AbstractContextManager[concurrent.futures.Executor]:
    """Returns a Dask cluster, local processes that end with this one, or one thread.

    Args:
      workers: local processes; 0: one for each core that may be used, at most 6.
      dask: HOST:PORT of a scheduler; "": this machine.
      is_worth_processes: if False, one thread does the work on this machine.
    Raises: UserError: Dask is not installed, or no scheduler answers.
    """
    if dask:
        return _on_dask(dask)
    workers = workers or _default_workers()
    if workers == 1 or not is_worth_processes:
        return concurrent.futures.ThreadPoolExecutor(1)
    return _local_processes(workers)


def _default_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return min(cores or os.cpu_count() or 1, _MAX_DEFAULT_WORKERS)


@contextlib.contextmanager
def _local_processes(workers: int) -> Iterator[concurrent.futures.Executor]:
    """Opens a pool of processes that do not import the caller's script.

    Raises: RunFailed: the system ended a process.
    """
    # Spawned, as a fork of a process that runs JAX's threads may hang.
    context = multiprocessing.get_context("spawn")
    try:
        with _ProcessPool(workers, context, _follow_parent) as pool:
            yield pool
    except concurrent.futures.process.BrokenProcessPool:
        raise RunFailed(
            f"one of {workers} worker processes was killed, perhaps by the system for "
            "want of memory; run the same command again, which keeps what is done, "
            "with fewer workers (prepare --workers N)"
        ) from None


class _ProcessPool(concurrent.futures.ProcessPoolExecutor):
    """Processes that do not import the user's script."""

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future:
        """Submits a call; a process for it may start here."""
        with _hidden_script():
            return super().submit(fn, *args, **kwargs)


@contextlib.contextmanager
def _hidden_script() -> Iterator[None]:
    """Hides the script that the user runs from processes that start over a block.

    A spawned process imports it, which a script without `if __name__ == "__main__"`
    does not survive; the functions that the pool runs are not in it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _follow_parent() -> None:
    """Makes a worker ignore Ctrl-C and end as soon as its parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextlib.contextmanager
def _on_dask(address: str) -> Iterator[concurrent.futures.Executor]:
    """Opens a cluster; its workers need this package and must see all paths."""
    try:
        import distributed
    except ImportError:
        raise UserError(
            "--dask needs Dask, which is not installed; pip install 'dask[distributed]'"
            " here and on the workers"
        ) from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--dask {address}: no scheduler answers ({error}); HOST:PORT of a running "
            "scheduler is expected; use the address that `dask scheduler` prints"
        ) from None
    with client, client.get_executor(pure=False) as executor:
        try:
            yield executor
        except UserError:
            raise
        except Exception as error:
            raise RunFailed(
                f"a worker of --dask {address} failed: {error!r}; each worker must "
                "have this package and see all paths; correct that and run again"
            ) from error
