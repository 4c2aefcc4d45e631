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
        create: bool = True,
    ):
        self._directory = directory.absolute()
        policy = AnyPreservationPolicy(
            [LatestN(keep), CustomSteps(list(keep_at_steps))]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
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

    def save(self, state: TrainState, fingerprint: dict[str, str]) -> None:
        """Starts saving; returns once `state` has been copied from the devices."""
        rest = {"step": state.step, "opt_state": state.opt_state}
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                rest=ocp.args.StandardSave(rest),
                fingerprint=ocp.args.JsonSave(fingerprint),
            ),
        )

    def latest_step(self) -> int | None:
        """The newest step that was saved completely."""
        return self._manager.latest_step()

    def all_steps(self) -> list[int]:
        """The steps that were saved completely, in order."""
        return sorted(self._manager.all_steps())

    def restore(
        self, step: int, like: TrainState, fingerprint: dict[str, str]
    ) -> TrainState:
        """The state saved at `step`, laid out on devices as `like` (abstract or not).

        Raises: UserError if it was saved under another fingerprint.
        """
        saved = self._restore(step, fingerprint=ocp.args.JsonRestore()).fingerprint
        differing = [
            f"{name}: {saved.get(name)} -> {now}"
            for name, now in fingerprint.items()
            if saved.get(name) != now
        ]
        if differing:
            raise UserError(
                f"{self._directory / str(step)} was saved with other data: "
                f"{'; '.join(differing)}; restore the data or name another --workdir"
            )
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

    def restore_params(self, step: int, like: Any) -> Any:
        """Only the parameters saved at `step`, laid out as `like`."""
        return self._restore(step, params=ocp.args.StandardRestore(like)).params

    def _restore(self, step: int, **items: Any) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """The leaves' shapes and dtypes, with `sharding`: what restoring needs to know."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )
