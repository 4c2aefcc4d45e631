"""Checkpoints of a run: saved in the background, at most N kept, restored exactly.

A checkpoint is checkpoints/STEP/ with the items `params`, `rest` (step and optimizer
state) and `fingerprint` (facts about data and config that a resume must match), and
with checksums, which are complete before orbax renames the directory to STEP. Damage is
found before a checkpoint is used, and nothing damaged is deleted until a newer step has
been saved.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    CustomSteps,
    LatestN,
)

from gpt1_jax import errors, files
from gpt1_jax.distributed import multihost
from gpt1_jax.errors import RunFailed, UserError
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import checksums, intact, orbax_files

# The items that using the parameters takes; a resume takes `rest` too.
MODEL_ITEMS = ("params", "fingerprint", "metrics")


# A fact about a checkpoint, not its model: how many rows metrics.jsonl had.
NUM_ROWS = "num_rows"


class Checkpoints:
    """The checkpoints of one workdir. Leaving its block waits for the last save.

    Args: keep: how many of the newest steps are kept. keep_at_steps: steps that are
          never deleted. keeps_best: the step of the highest score is kept too.
          create: whether this run saves; else the directory is only read.
    """

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
        self._saving = -1
        if create:
            with multihost.first_before_others("the checkpoints were checked"):
                if multihost.is_first():
                    intact.rename_damaged(self._directory)
        best = BestN(
            get_metric_fn=_score_order, n=1, keep_checkpoints_without_metrics=False
        )
        policy = AnyPreservationPolicy(
            [LatestN(keep), CustomSteps(list(keep_at_steps)), best]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            # Without it orbax neither writes scores nor reads them.
            best_fn=_score_order if keeps_best and create else None,
            create=create,
            cleanup_tmp_directories=create,
            # Called when all files are written, before orbax renames the directory.
            async_options=ocp.AsyncOptions(
                post_finalization_callback=self._write_checksums
            ),
        )
        if create:
            self._directory.mkdir(parents=True, exist_ok=True)
        directory = self._directory
        self._manager = ocp.CheckpointManager(
            orbax_files.plain_path(directory) if directory.is_dir() else directory,
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

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            return  # at once; a save that has not ended leaves no checkpoint
        with self._explained_errors():
            self._manager.close()
        if multihost.is_first() and self._saving >= 0:
            for path in self._directory.glob(f"*{intact.DAMAGED_SUFFIX}"):
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Turns an error of saving into a RunFailed that says where, and what is left.

        It also stops orbax from logging the error with a traceback.
        """
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.FATAL)
        try:
            yield
        except Exception as error:  # any type, from orbax, TensorStore or the system
            reason = " ".join(errors.text_of(error).split())
            kept = ", ".join(map(str, self.all_steps())) or "none"
            raise RunFailed(
                f"{self._directory / str(self._saving)} could not be saved: {reason}; "
                f"the checkpoints before it are as they were ({kept}); free space or "
                "check the path, then run the same command again"
            ) from error
        finally:
            logging.set_verbosity(verbosity)

    def _write_checksums(self) -> None:
        unfinished = self._directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        path = next(unfinished, self._directory / str(self._saving))
        for item in ("params", "rest"):
            orbax_files.check_arrays(path / item)
        checksums.write(path, self._saving)

    def save(
        self,
        state: TrainState,
        fingerprint: dict[str, str],
        score: float | None = None,
    ) -> None:
        """Starts saving; returns once `state` has been copied from the devices.

        Raises: RunFailed: this save, or the one before it, failed.
        """
        rest = {"step": state.step, "opt_state": state.opt_state}
        with self._explained_errors():
            self._manager.wait_until_finished()
        self._saving = int(state.step)
        with self._explained_errors():
            has_begun = self._manager.save(
                self._saving,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    rest=ocp.args.StandardSave(rest),
                    fingerprint=ocp.args.JsonSave(fingerprint),
                ),
                metrics=_metrics(self._saving, score),
            )
        assert has_begun, f"{self._directory} has step {self._saving}, or a later one"

    def set_score(self, step: int, score: float) -> None:
        """Writes the score of a step that was saved before its evaluation ended."""
        if multihost.is_first():
            directory = self._directory / str(step) / "metrics"
            # A resume that was killed may have left it.
            shutil.rmtree(directory, ignore_errors=True)
            with files.atomic_directory(directory) as part:
                text = json.dumps(_metrics(step, score))
                (part / "metrics").write_text(text, encoding="utf-8")
            checksums.add(self._directory / str(step), "metrics")
        multihost.wait_for_all(f"step {step} has its score")
        self._manager.reload()

    def latest_step(self) -> int | None:
        """Returns the newest step that was saved completely."""
        return max(self.all_steps(), default=None)

    def describe_newest(self) -> str:
        """Returns a clause about the newest good checkpoint, for an error."""
        with contextlib.suppress(Exception):  # the failed save is reported already
            self._manager.wait_until_finished()
        with contextlib.suppress(RunFailed):
            step = intact.good_step(self._directory, reversed(self.all_steps()))
            if step is not None:
                return f"the newest good checkpoint is {self._directory / str(step)}"
        return f"no good checkpoint is in {self._directory}"

    def best_step(self) -> int | None:
        """Returns the earliest intact step of the highest score; None: no scores.

        Raises: RunFailed: steps have scores, but none is intact.
        """
        with self._explained_errors():
            self._manager.wait_until_finished()
        return intact.good_step(self._directory, self._by_score(), MODEL_ITEMS)

    def _by_score(self) -> list[int]:
        """Returns the steps with damaged scores, then those with scores, best first."""
        damaged, scored = [], {}
        for step in self.all_steps():
            path = self._directory / str(step)
            if checksums.problem(path, ("metrics",)):
                damaged.append(step)
            elif (file := path / "metrics" / "metrics").is_file():
                scored[step] = _score_order(json.loads(file.read_bytes()))
        return damaged + sorted(scored, key=scored.__getitem__, reverse=True)

    def model_step(self) -> int | None:
        """Returns the best step, or else the newest one, that is intact.

        Raises: RunFailed: there are steps, but none is intact.
        """
        best_first = dict.fromkeys([*self._by_score(), *reversed(self.all_steps())])
        return intact.good_step(self._directory, best_first, MODEL_ITEMS)

    def all_steps(self) -> list[int]:
        """Returns the steps that were saved completely, in order."""
        return intact.steps_in(self._directory)

    def restore(
        self, step: int, like: TrainState, fingerprint: dict[str, str]
    ) -> TrainState:
        """Returns the state saved at `step`, with the shardings of `like`.

        Raises: UserError: it has another fingerprint, or arrays of other names, shapes
                or dtypes than `like`, which may be abstract.
        """
        self.check(step, fingerprint)
        if not checksums.lists(self._directory / str(step), "rest"):
            raise UserError(
                f"{self._directory / str(step)} has no optimizer state, as `gpt1 runs "
                "--prune` has dropped it; a checkpoint with one is expected, to resume "
                "the run; start another run from this model with --config.init.path"
            )
        rest = {"step": like.step, "opt_state": like.opt_state}
        self._check_arrays(step, like.params, rest)
        restored = self._restore(
            step,
            params=ocp.args.StandardRestore(like.params),
            rest=ocp.args.StandardRestore(rest),
        )
        return TrainState(
            restored.rest["step"], restored.params, restored.rest["opt_state"]
        )

    def check(self, step: int, fingerprint: dict[str, str]) -> None:
        """Raises UserError if `step` was saved with other values of these facts."""
        saved = self.facts(step)
        differing = [
            name
            for name in fingerprint
            if name in saved and saved[name] != fingerprint[name]
        ]
        if differing:
            raise UserError(
                f"{self._directory / str(step)} was saved with another "
                f"{' and '.join(differing)}; it can only be used with its own; restore "
                "that, or name another workdir"
            )

    def _check_arrays(self, step: int, params: Any, rest: Any) -> None:
        """Raises UserError with the name of the first array that differs."""
        metadata = self._manager.item_metadata(step)
        saved = _arrays(metadata.params.tree) | _arrays(metadata.rest.tree)
        expected = _arrays(params) | _arrays(rest)
        for path in sorted(saved | expected):
            if saved.get(path) != expected.get(path):
                raise UserError(
                    f"{self._directory / str(step)}: {path} is "
                    f"{saved.get(path, 'not there')}; this run has "
                    f"{expected.get(path, 'no such array')}; resume it with the config "
                    "and the version that saved it, or name another workdir"
                )

    def facts(self, step: int) -> dict[str, str]:
        """Returns the fingerprint that `step` was saved with."""
        facts = self._all_facts(step)
        return {name: value for name, value in facts.items() if name != NUM_ROWS}

    def num_rows(self, step: int) -> int | None:
        """Returns how many rows metrics.jsonl had at `step`; None: not recorded."""
        count = self._all_facts(step).get(NUM_ROWS)
        return None if count is None else int(count)

    def _all_facts(self, step: int) -> dict[str, str]:
        return self._restore(step, fingerprint=ocp.args.JsonRestore()).fingerprint

    def params_shapes(self, step: int) -> Any:
        """Returns the shapes and dtypes of the parameters saved at `step`."""
        metadata = self._manager.item_metadata(step).params
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), metadata.tree
        )

    def restore_params(self, step: int, like: Any) -> Any:
        """Returns the parameters saved at `step`, with the shardings of `like`."""
        return self._restore(step, params=ocp.args.StandardRestore(like)).params

    def _restore(self, step: int, **items: Any) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def _arrays(tree: Any) -> dict[str, str]:
    """Returns a description of each leaf, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype} of shape {list(leaf.shape)}"
        )
        for path, leaf in leaves
    }


def _metrics(step: int, score: float | None) -> dict[str, float] | None:
    return None if score is None else {"score": score, "step": step}


def _score_order(metrics: dict[str, float]) -> tuple[float, float]:
    """Returns a sort key: the best is last, by score and then the earliest step."""
    return metrics["score"], -metrics["step"]


def abstract(tree: Any, shardings: Any) -> Any:
    """Returns the shapes, dtypes and shardings of `tree`, which restoring needs.

    Args: shardings: one for all leaves, or a tree of them.
    """
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        shardings,
    )
