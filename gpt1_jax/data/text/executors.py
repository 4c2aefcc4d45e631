"""Executors of independent work: one thread, local processes, or a Dask cluster."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

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
    # Spawned, as a fork of a process that runs JAX's threads may hang.
    return concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _follow_parent
    )


def _default_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return min(cores or os.cpu_count() or 1, _MAX_DEFAULT_WORKERS)


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
