"""A training job's session in a workdir: it opens the run, resumes it, and ends it."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import MeshConfig, RunConfig, flatten
from gpt1_jax.data.text import tokenizers
from gpt1_jax.distributed import mesh, multihost, runtime
from gpt1_jax.errors import OtherRun, RunFailed
from gpt1_jax.models import attention
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import checkpoint, intact, metrics_log, profiling, tracker
from gpt1_jax.workdirs import workdir as workdir_lib


def prepare(config: RunConfig, workdir: Path) -> None:
    """Prepares the process for a job, together with the other processes of its run.

    Raises: UserError: they were given different things.
    """
    runtime.prepare(config)
    multihost.agree_on_hosts(workdir)


def prepare_training(config: RunConfig, workdir: Path) -> None:
    """Prepares the process for a training job.

    Raises: UserError: as `prepare`; the batch size does not fit the devices; the
            library of the tracker is not installed.
    """
    prepare(config, workdir)
    if multihost.is_first():
        tracker.check(config.train.tracker)
    mesh.resolve_dtype(config.model)
    mesh.check_batch_size(config.train.batch_size, config.train.accumulation_steps)


def announce(config: RunConfig, workdir: Path) -> None:
    """Prints workdir, devices and precision of a run, and warns of a missing kernel."""
    terminal.say(mesh.describe(config.model, f"run: {workdir}"))
    model = mesh.resolve_dtype(config.model)
    if model.backbone == "transformer" and (note := attention.missing_kernel(model)):
        terminal.warn(note)


def finished_result(workdir: Path, config: RunConfig) -> dict[str, Any] | None:
    """Returns the result.json of `workdir` if the run is finished, else None.

    Raises: UserError: the workdir holds another run. RunFailed: it is finished, but its
            model is gone.
    """
    workdir_lib.check(workdir, config)
    result = workdir_lib.read_result(workdir)
    if result and result["job"] != config.job:
        raise OtherRun(
            f"{workdir} holds the result of the job {result['job']}; {config.job} "
            "needs a workdir of its own; name another --workdir"
        )
    if not result:
        return None
    is_done = result.get("stopped_early") or (
        result.get("steps", -1) >= config.train.max_steps
    )
    if not is_done:
        return None
    _check_model_present(workdir)
    return result


def _check_model_present(workdir: Path) -> None:
    """Raises RunFailed if a finished run has lost its checkpoints or its tokenizer."""
    checkpoints_dir = workdir / workdir_lib.CHECKPOINTS_DIR
    tokenizer_dir = workdir / workdir_lib.TOKENIZER_DIR
    missing = []
    if not intact.steps_in(checkpoints_dir):
        missing.append(f"no checkpoint in {checkpoints_dir}")
    if not tokenizers.is_tokenizer(tokenizer_dir):
        missing.append(f"no tokenizer in {tokenizer_dir}")
    if missing:
        raise RunFailed(
            f"{workdir} is finished, but there is {' and '.join(missing)}; both are "
            "needed to use its model; restore them from a copy, or train it again in "
            "another --workdir"
        )


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Locks `workdir` against other runs over a block, for all processes of this run.

    Raises: UserError, RunFailed: another run has locked it.
    """
    with contextlib.ExitStack() as stack:
        with multihost.first_before_others(f"{workdir} was locked"):
            if multihost.is_first():
                stack.enter_context(workdir_lib.lock(workdir))
        yield


def complete(
    workdir: Path,
    config: RunConfig,
    train: Callable[[], dict[str, float]],
    *,
    total_steps: int,
    began: float,
) -> dict[str, Any]:
    """Locks `workdir`, trains, writes result.json and returns it.

    Args:   train: returns the metrics. began: time.monotonic() at the job's start.
    Raises: as `lock`, `finished_result` and `train`.
    """
    with lock(workdir):
        workdir_lib.check(workdir, config)  # again: another run may have changed it
        for warning in config_lib.warnings(config, total_steps):
            terminal.warn(warning)
        metrics = train()
        steps = int(metrics_log.read(workdir / workdir_lib.METRICS_FILE)[-1]["step"])
        return write_result(
            workdir,
            config.job,
            steps=steps,
            metrics=metrics,
            began=began,
            is_stopped_early=steps < total_steps,
        )


@dataclasses.dataclass(frozen=True)
class Session:
    """An open run: the state that it starts from, and what training needs of it."""

    state: TrainState
    save: Callable[[TrainState, float | None], None]
    log: metrics_log.MetricsLog
    profile: profiling.Profile
    checkpoints: checkpoint.Checkpoints


@contextlib.contextmanager
def begin(
    workdir: Path,
    config: RunConfig,
    *,
    make_state: Callable[[], TrainState],
    like: TrainState,
    fingerprint: dict[str, str],
    keeps_best: bool = False,
) -> Iterator[Session]:
    """Opens the run in `workdir`, at its newest good checkpoint or a fresh state.

    Args:   like: the state's shapes, dtypes and shardings. keeps_best: whether the step
            of the highest score is kept.
    Raises: UserError: the newest good checkpoint has another fingerprint or other
            arrays. RunFailed: there are checkpoints, but no good one.
    """
    cfg = config.train
    with checkpoint.Checkpoints(
        workdir / workdir_lib.CHECKPOINTS_DIR,
        keep=cfg.keep_checkpoints,
        keep_at_steps=cfg.keep_at_steps,
        keeps_best=keeps_best,
    ) as checkpoints:
        latest = checkpoints.latest_step()
        multihost.agree(
            "the data", fingerprint | {"the newest checkpoint's step": latest}
        )
        first = latest or 0
        resumed = -1 if latest is None else latest
        if latest is None:
            state = make_state()
        else:
            state = checkpoints.restore(latest, like, fingerprint)
            terminal.say(f"resuming {workdir} at step {latest:,}")

        def save(state: TrainState, score: float | None) -> None:
            if multihost.is_first():
                workdir_lib.check_present(workdir)
            log.sync()
            facts = fingerprint | {checkpoint.NUM_ROWS: str(log.num_rows)}
            checkpoints.save(state, facts, score)

        try:
            with (
                metrics_log.MetricsLog(workdir, resumed, config) as log,
                profiling.Profile(workdir, cfg.profile_steps, first=first) as profile,
            ):
                if latest is not None:
                    _warn_of_lost_rows(workdir, checkpoints.num_rows(latest), log)
                if latest is None:
                    log.write_text(0, "config", config_table(config))
                yield Session(state, save, log, profile, checkpoints)
        except RunFailed as error:
            raise RunFailed(f"{error}; {checkpoints.describe_newest()}") from error
    multihost.wait_for_all("the log is written")


def _warn_of_lost_rows(
    workdir: Path, num_saved: int | None, log: metrics_log.MetricsLog
) -> None:
    """Warns if metrics.jsonl has fewer rows than it had when the state was saved."""
    if num_saved is not None and log.num_rows < num_saved:
        terminal.warn(
            f"{workdir / workdir_lib.METRICS_FILE} has {log.num_rows} rows, and had "
            f"{num_saved} when the checkpoint was saved; the run goes on without the "
            "lost ones; to have them again, stop it and restore the file from a copy"
        )


def config_table(config: RunConfig) -> str:
    """Returns a Markdown table of every field and its value, for TensorBoard."""
    rows = [
        f"| {path} | `{json.dumps(value, ensure_ascii=False)}` |"
        for path, value in flatten(config).items()
    ]
    return "\n".join(["| field | value |", "|---|---|", *rows])


def write_result(
    workdir: Path,
    job: str,
    *,
    steps: int,
    metrics: dict[str, float],
    began: float,
    is_stopped_early: bool = False,
) -> dict[str, Any]:
    """Writes result.json, which marks the run as finished, and returns it.

    Args: began: time.monotonic() at the job's start.
    """
    result = {
        "job": job,
        "steps": steps,
        "metrics": metrics,
        "seconds": round(time.monotonic() - began, 1),
        "devices": [device.device_kind for device in jax.devices()],
    }
    if is_stopped_early:
        result["stopped_early"] = True
    if multihost.is_first():
        workdir_lib.check_present(workdir)
        workdir_lib.write_result(workdir, result)
    return result


def state_like(
    init: Callable[[], TrainState], devices: jax.sharding.Mesh, cfg: MeshConfig
) -> TrainState:
    """Returns shapes, dtypes and shardings of the state that `init` makes."""
    shapes = jax.eval_shape(init)
    shardings = mesh.state_shardings(shapes, devices, is_fsdp=cfg.fsdp)
    return checkpoint.abstract(shapes, shardings)


def shardings_of(like: Any) -> Any:
    """Returns the shardings of abstract arrays."""
    return jax.tree.map(lambda x: x.sharding, like)


def num_parameters(params: Any) -> int:
    """Returns the number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
