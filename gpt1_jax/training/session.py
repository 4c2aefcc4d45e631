"""What a job that trains opens in its workdir: checkpoints, log, the state so far."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from gpt1_jax import terminal
from gpt1_jax import workdir as workdir_lib
from gpt1_jax.config import TrainConfig
from gpt1_jax.training import checkpoint, metrics_log
from gpt1_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Session:
    """An open run: `state` is where it starts or goes on, `save` keeps a later one."""

    state: TrainState
    save: Callable[[TrainState, float | None], None]
    log: metrics_log.MetricsLog
    checkpoints: checkpoint.Checkpoints


@contextlib.contextmanager
def begin(
    workdir: Path,
    cfg: TrainConfig,
    *,
    make_state: Callable[[], TrainState],
    like: TrainState,
    fingerprint: dict[str, str],
    keeps_best: bool = False,
) -> Iterator[Session]:
    """Opens the run in `workdir`, at its newest checkpoint or at a fresh state.

    Args:   like: the state's shapes, dtypes and shardings. keeps_best: whether `save`
            is told scores, and the step of the highest is kept.
    Raises: UserError if the newest checkpoint was saved under another fingerprint.
    """
    with checkpoint.Checkpoints(
        workdir / workdir_lib.CHECKPOINTS_DIR,
        keep=cfg.keep_checkpoints,
        keep_at_steps=cfg.keep_at_steps,
        keeps_best=keeps_best,
    ) as checkpoints:
        latest = checkpoints.latest_step()
        if latest is None:
            state = make_state()
        else:
            state = checkpoints.restore(latest, like, fingerprint)
            terminal.say(f"resuming {workdir} at step {latest:,}")

        def save(state: TrainState, score: float | None) -> None:
            checkpoints.save(state, fingerprint, score)

        with metrics_log.MetricsLog(workdir, latest or 0) as log:
            yield Session(state, save, log, checkpoints)


def write_result(
    workdir: Path, job: str, *, steps: int, metrics: dict[str, float], began: float
) -> dict[str, Any]:
    """Writes result.json, which marks the run as finished, and returns what it says.

    Args: began: when this process began the job, by time.monotonic.
    """
    result = {
        "job": job,
        "steps": steps,
        "metrics": metrics,
        "seconds": round(time.monotonic() - began, 1),
        "devices": [device.device_kind for device in jax.devices()],
    }
    workdir_lib.write_result(workdir, result)
    return result


def num_parameters(params: Any) -> int:
    """How many numbers `params` holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
