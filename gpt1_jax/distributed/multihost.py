"""The processes of a run, one on each host: how they connect, wait and agree.

All processes compute. Only the first prints, and writes whatever is not a checkpoint.
They end together: what ends one of them ends all.
"""

import atexit
import contextlib
import functools
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax

from gpt1_jax import errors, files, terminal
from gpt1_jax.config import MeshConfig, RunConfig
from gpt1_jax.distributed import agreement, native_errors, peers, rendezvous
from gpt1_jax.errors import Preempted, UserError

# NFS shows a new file to other hosts once their cache of the directory has expired. By
# default that takes up to 60 s, and 30 s for a directory that has just changed.
_SHARED_SECONDS = 45.0
# An error of the devices may follow from the end of a peer, of which we hear by then.
_NEWS_SECONDS = 3.0

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class _Connected:
    others: peers.Peers | None = None
    local_devices: Any = None  # those that the environment gives to this process
    exit_code = errors.DONE  # another one after a failure of this process


# A process has one distributed runtime, so it is in one run of several processes.
_connected = _Connected()


def join(config: RunConfig) -> None:
    """Connects this process and its devices to the others of its run, if there are any.

    `config.mesh` or the environment says whether there are. It must be called before
    JAX starts. The processes first compare config and code, as other devices may not
    even connect. A process that is already connected only compares.
    Raises: UserError: the processes can't find each other, or they differ.
    """
    place = _find_others(config.mesh)
    agree("the config", agreement.facts(config))
    if place and not jax.distributed.is_initialized():
        _connect_devices(config.mesh, place)


def _find_others(cfg: MeshConfig) -> rendezvous.Place | None:
    """Returns the place of this process among the others; None: there are no others.

    Raises: UserError: the processes can't find each other, or the caller has connected
            them, which leaves this package no way to end them together.
    """
    if _connected.others:
        return _connected.others.place
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        raise UserError(
            "this process is already connected by jax.distributed.initialize; gpt1_jax "
            "connects the processes of a run itself; remove that call, and set "
            "config.mesh.coordinator_address, num_processes and process_id where the "
            "environment does not name them"
        )
    if cfg.distributed == "off":
        return None
    if cfg.coordinator_address:
        place = rendezvous.Place(
            cfg.coordinator_address, cfg.num_processes, cfg.process_id
        )
    elif cfg.distributed == "auto" and not _has_peers():
        return None
    else:
        place, _connected.local_devices = _detected(cfg)
    _connected.others = peers.Peers(place, seconds=cfg.start_seconds)
    atexit.register(_leave)
    return place


def _connect_devices(cfg: MeshConfig, place: rendezvous.Place) -> None:
    """Starts JAX's distributed runtime in this process.

    Raises: UserError: it can't be started.
    """
    native_errors.subdue(peers.end_process)
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            place.address,
            place.num_processes,
            place.process_id,
            _connected.local_devices,
        )
    except (ValueError, RuntimeError) as error:
        raise _no_others(cfg, error) from None
    if is_main:  # JAX has replaced the handler by one that only records the signal
        signal.signal(signal.SIGTERM, handler)
    if not is_first():
        terminal.silence()


def _has_peers() -> bool:
    """Returns whether SLURM, Open MPI or a TPU pod started more than one process."""
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return any(os.environ.get(name, "1") != "1" for name in counts) or len(hosts) > 1


def _detected(cfg: MeshConfig) -> tuple[rendezvous.Place, Any]:
    """Returns what JAX finds in the environment: the place, and the local devices.

    Raises: UserError: it finds nothing.
    """
    # jax.distributed.initialize does the same, but tells nobody what it has found.
    from jax._src.clusters import ClusterEnv

    try:
        address, count, number, local_devices = (
            ClusterEnv.auto_detect_unset_distributed_params(
                None, None, None, None, None, cfg.start_seconds
            )
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise _no_others(cfg, error) from None
    if address is None or count is None or number is None:
        raise _no_others(cfg, "the environment names none")
    return rendezvous.Place(address, count, number), local_devices


def _no_others(cfg: MeshConfig, why: object) -> UserError:
    return UserError(
        f"config.mesh.distributed={cfg.distributed}, but this process finds no "
        f"others: {why}; set config.mesh.coordinator_address, num_processes and "
        "process_id, or distributed=off"
    )


def ends_together(
    job: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Makes all processes of a run end when `job` raises an error in one of them.

    They end with one line that has the error, and with its exit code. A sweep, whose
    jobs are such functions, is one itself: the innermost one tells the others.
    """

    @functools.wraps(job)
    def with_peers(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            result = job(*args, **kwargs)
            _finish()
            return result
        except Preempted:  # all have agreed to stop
            _finish()
            raise
        except BaseException as error:
            if _connected.others and _connected.exit_code == errors.DONE:
                _tell(_connected.others, error)
            raise

    return with_peers


def _finish() -> None:
    """Waits until the job of all processes is done, after which each may end."""
    wait_for_all("the end of the job")
    if _connected.others:
        _connected.others.leave()


def _tell(others: peers.Peers, error: BaseException) -> None:
    """Tells all other processes of an error in this one."""
    if _is_of_devices(error):
        time.sleep(_NEWS_SECONDS)
    _connected.exit_code = errors.exit_code(error)
    message = errors.text_of(error)
    if isinstance(error, KeyboardInterrupt):
        message = "interrupted; the same command resumes where this one stopped"
    elif not isinstance(error, UserError | errors.RunFailed | OSError):
        name, *lines = type(error).__name__, *str(error).splitlines()
        message = ": ".join([name, *lines[:1]])
    others.fail(message, _connected.exit_code)


def _is_of_devices(error: BaseException | None) -> bool:
    """Returns whether an error of JAX's runtime is the reason of `error`."""
    while error and not isinstance(error, jax.errors.JaxRuntimeError):
        error = error.__cause__ or error.__context__
    return error is not None


def _leave() -> None:
    """Tells the others of the end of this process, and ends it at once if it failed.

    After a failure JAX would wait for the others, which are gone.
    """
    if _connected.exit_code == errors.DONE:
        if _connected.others:
            _connected.others.leave()
        return
    terminal.flush()
    time.sleep(0.2)  # the others read the message before the connection breaks
    os._exit(_connected.exit_code)


def is_alone() -> bool:
    """Returns whether this process is the only one of its run."""
    return _connected.others is None


def is_first() -> bool:
    """Returns whether this is the process that prints and writes."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns once every process has made the same call."""
    if _connected.others:
        _connected.others.combine(what, None, lambda values: None)


@contextlib.contextmanager
def first_before_others(what: str) -> Iterator[None]:
    """Runs a block in the first process before the others enter it.

    Args: what: the work of the block in the past tense.
    """
    if is_first():
        yield
    wait_for_all(what)
    if not is_first():
        yield


def is_true_anywhere(flag: bool) -> bool:
    """Returns whether `flag` is true in any process; all must call it together."""
    if not _connected.others:
        return flag
    return _connected.others.combine("a flag", flag, any)


def agree(what: str, facts: dict[str, Any]) -> None:
    """Checks that all processes have the same facts; all must call it together.

    Raises: UserError: they have not; the message has each fact's values and whose.
    """
    if _connected.others:
        difference = _connected.others.combine(what, facts, agreement.difference)
        if difference:
            raise UserError(difference)


def agree_on_hosts(workdir: Path) -> None:
    """Checks that all processes have the same kind of devices, and one workdir.

    Raises: UserError: they have not.
    """
    if not _connected.others:
        return
    agree(
        "the devices",
        {
            "the platform": jax.default_backend(),
            "the kind of devices": jax.local_devices()[0].device_kind,
            "the number of devices": jax.local_device_count(),
        },
    )
    _check_shared(_connected.others, workdir)


def _check_shared(others: peers.Peers, workdir: Path) -> None:
    """Raises UserError unless all processes see the same directory `workdir`."""
    name = f".hosts-{uuid.uuid4().hex}"
    if is_first():
        files.check_writable(workdir, "name another --workdir")
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / name).touch()
    try:
        # The others' names are not used.
        name = others.combine("a file", name, lambda names: names[0])
        deadline = time.monotonic() + _SHARED_SECONDS
        while not (is_there := _is_listed(workdir, name)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        seen = others.combine("the workdir", [str(workdir), is_there], list)
    finally:
        if is_first():
            (workdir / name).unlink(missing_ok=True)
    for number, (path, is_seen) in enumerate(seen):
        if not is_seen:
            raise UserError(
                f"--workdir {path} on process {number} is not the directory that "
                "process 0 uses: a file that process 0 wrote there does not appear; "
                "one directory shared by all hosts is expected; name one on a shared "
                "file system"
            )


def _is_listed(directory: Path, name: str) -> bool:
    """Returns whether a file is in `directory`; a listing refreshes NFS's cache."""
    return directory.is_dir() and name in os.listdir(directory)
