"""Checkpoints of a run: saved in the background, at most N kept, restored exactly.

A checkpoint is checkpoints/STEP/ with the items `params`, `rest` (step and optimizer
state) and `fingerprint` (the data and code facts that a resume must meet again).
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    CustomSteps,
    LatestN,
)

from gpt1_jax.exits import UserError
from gpt1_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints directory of one workdir; close it to wait for the last save."""

    def __init__(
        self,
        directory: Path,
        *,
        keep: int = 2,
        keep_at_steps: tuple[int, ...] = (),
        keeps_best: bool = True,
        create: bool = True,
    ):
        self._directory = directory.absolute()
        best = BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
        policy = AnyPreservationPolicy(
            [LatestN(keep), CustomSteps(list(keep_at_steps)), best]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            # Without it orbax neither writes scores nor reads them.
            best_fn=_rank if keeps_best else None,
            create=create,
            cleanup_tmp_directories=create,
        )
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=options,
            item_names=("params", "rest", "fingerprint"),
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "rest": ocp.StandardCheckpointHandler(),
                "fingerprint": ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()

    def save(
        self,
        state: TrainState,
        fingerprint: dict[str, str],
        score: float | None = None,
    ) -> None:
        """Starts saving; returns once `state` has been copied from the devices.

        The step of highest score is kept beside the newest ones.
        """
        rest = {"step": state.step, "opt_state": state.opt_state}
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                rest=ocp.args.StandardSave(rest),
                fingerprint=ocp.args.JsonSave(fingerprint),
            ),
            metrics=_metrics(int(state.step), score),
        )

    def latest_step(self) -> int | None:
        """The newest step that was saved completely."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step of highest score, of equals the earliest; None if none has one."""
        self._manager.wait_until_finished()
        metrics = {step: self._manager.metrics(step) for step in self.all_steps()}
        scored = {step: found for step, found in metrics.items() if found}
        return max(scored, key=lambda step: _rank(scored[step]), default=None)

    def all_steps(self) -> list[int]:
        """The steps that were saved completely, in order."""
        return sorted(self._manager.all_steps())

    def restore(
        self, step: int, like: TrainState, fingerprint: dict[str, str]
    ) -> TrainState:
        """The state saved at `step`, laid out on devices as `like` (abstract or not).

        Raises: UserError if it was saved under another fingerprint.
        """
        self.check(step, fingerprint)
        restored = self._restore(
            step,
            params=ocp.args.StandardRestore(like.params),
            rest=ocp.args.StandardRestore(
                {"step": like.step, "opt_state": like.opt_state}
            ),
        )
        return TrainState(
            restored.rest["step"], restored.params, restored.rest["opt_state"]
        )

    def check(self, step: int, fingerprint: dict[str, str]) -> None:
        """Raises UserError if `step` was saved with another value of these facts."""
        saved = self.facts(step)
        differing = [
            name
            for name in fingerprint
            if name in saved and saved[name] != fingerprint[name]
        ]
        if differing:
            raise UserError(
                f"{self._directory / str(step)} was saved with another "
                f"{' and '.join(differing)}; it is of use with its own only; restore "
                "that, or name another workdir"
            )

    def facts(self, step: int) -> dict[str, str]:
        """The fingerprint that `step` was saved with."""
        return self._restore(step, fingerprint=ocp.args.JsonRestore()).fingerprint

    def params_shapes(self, step: int) -> Any:
        """The parameters saved at `step` as shapes and dtypes."""
        metadata = self._manager.item_metadata(step).params
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), metadata.tree
        )

    def restore_params(self, step: int, like: Any) -> Any:
        """Only the parameters saved at `step`, laid out as `like`."""
        return self._restore(step, params=ocp.args.StandardRestore(like)).params

    def _restore(self, step: int, **items: Any) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def _metrics(step: int, score: float | None) -> dict[str, float] | None:
    return None if score is None else {"score": score, "step": step}


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    """A key that sorts the best last: by score, of equals the earliest."""
    return metrics["score"], -metrics["step"]


def abstract(tree: Any, shardings: Any) -> Any:
    """The leaves' shapes, dtypes and shardings: what restoring needs to know.

    Args: shardings: one for all leaves, or a tree of them.
    """
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        shardings,
    )
