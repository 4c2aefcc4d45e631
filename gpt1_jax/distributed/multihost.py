"""The processes of a run, one on each host: how they connect, wait and agree.

All processes compute. Only the first prints, and writes whatever is not a checkpoint.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gpt1_jax import terminal
from gpt1_jax.config import MeshConfig
from gpt1_jax.errors import RunFailed, UserError


def join(cfg: MeshConfig) -> None:
    """Connects this process to the others of its run, if there are any.

    `cfg` or the environment says whether there are. It must be called before JAX
    starts, and does nothing in a process that is already connected.
    Raises: UserError: the processes can't find each other.
    """
    if cfg.distributed == "off" or jax.distributed.is_initialized():
        return
    given: dict[str, Any] = {}
    if cfg.coordinator_address:
        given = {
            "coordinator_address": cfg.coordinator_address,
            "num_processes": cfg.num_processes,
            "process_id": cfg.process_id,
        }
    elif cfg.distributed == "auto" and not _has_peers():
        return
    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"config.mesh.distributed={cfg.distributed}, but this process finds no "
            f"others: {error}; set config.mesh.coordinator_address, num_processes and "
            "process_id, or distributed=off"
        ) from None
    if not is_first():
        terminal.silence()


def _has_peers() -> bool:
    """Returns whether SLURM, Open MPI or a TPU pod started more than one process."""
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return any(os.environ.get(name, "1") != "1" for name in counts) or len(hosts) > 1


def is_first() -> bool:
    """Returns whether this is the process that prints and writes."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns once every process has made the same call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


@contextlib.contextmanager
def first_before_others(what: str) -> Iterator[None]:
    """Runs a block in the first process before the others enter it.

    Args:   what: the work of the block in the past tense, for the message.
    Raises: RunFailed, in the others, if the block failed in the first.
    """
    if is_first():
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            is_true_anywhere(has_failed)
        return
    if is_true_anywhere(False):
        raise RunFailed(
            f"the first process failed before {what}; its own error says why"
        )
    yield


def is_true_anywhere(flag: bool) -> bool:
    """Returns whether `flag` is true in any process; all must call it together."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())
