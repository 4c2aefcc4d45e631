"""Checkpoints of a run: saved in the background, at most N kept, restored exactly.

A checkpoint is checkpoints/STEP/ with the items `params`, `rest` (step and optimizer
state) and `fingerprint` (the data and code facts that a resume must meet again), and
with its checksums, which are in place before orbax gives it its name. What is damaged
is found before it is used, and left where it is until a newer step has been saved.
"""

import contextlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator
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

from gpt1_jax import files, terminal
from gpt1_jax.distributed import multihost
from gpt1_jax.errors import RunFailed, UserError
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import checksums

# All that the parameters and their score need; a resume needs `rest` too.
MODEL_ITEMS = ("params", "fingerprint", "metrics")
# Among the facts of a checkpoint that has checksums; older versions wrote none.
_CHECKSUMS = {"checksums": "crc32"}
_DAMAGED = ".damaged"


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
        self._saving = -1
        if create:
            with multihost.first_before_others("the checkpoints were checked"):
                if multihost.is_first():
                    _set_damaged_aside(self._directory)
        best = BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
        policy = AnyPreservationPolicy(
            [LatestN(keep), CustomSteps(list(keep_at_steps)), best]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            # Without it orbax neither writes scores nor reads them.
            best_fn=_rank if keeps_best and create else None,
            create=create,
            cleanup_tmp_directories=create,
            # Called when all is written, before the directory gets its name.
            async_options=ocp.AsyncOptions(
                post_finalization_callback=self._write_checksums
            ),
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

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            return  # at once: what is being saved is no checkpoint yet
        with self._failing_by_name():
            self._manager.close()
        if multihost.is_first() and self._saving >= 0:
            for path in self._directory.glob(f"*{_DAMAGED}"):
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _failing_by_name(self) -> Iterator[None]:
        """Lets an error of saving say where, and what is left.

        orbax would log it too, with the frames of whatever was being handled.
        """
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.FATAL)
        try:
            yield
        except Exception as error:  # of orbax, TensorStore or the system: any type
            reason = " ".join(f"{error or type(error)}".split())
            kept = ", ".join(map(str, self.all_steps())) or "none"
            raise RunFailed(
                f"{self._directory / str(self._saving)} could not be saved: {reason}; "
                f"the checkpoints before it are as they were ({kept}); free space or "
                "check the path, and the same command goes on"
            ) from error
        finally:
            logging.set_verbosity(verbosity)

    def _write_checksums(self) -> None:
        unnamed = self._directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        checksums.write(next(unnamed, self._directory / str(self._saving)))

    def save(
        self,
        state: TrainState,
        fingerprint: dict[str, str],
        score: float | None = None,
    ) -> None:
        """Starts saving; returns once `state` has been copied from the devices.

        The step of highest score is kept beside the newest ones.
        Raises: RunFailed: this save, or the one before it, failed.
        """
        rest = {"step": state.step, "opt_state": state.opt_state}
        with self._failing_by_name():
            self._manager.wait_until_finished()
        self._saving = int(state.step)
        with self._failing_by_name():
            has_begun = self._manager.save(
                self._saving,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    rest=ocp.args.StandardSave(rest),
                    fingerprint=ocp.args.JsonSave(fingerprint | _CHECKSUMS),
                ),
                metrics=_metrics(self._saving, score),
            )
        assert has_begun, f"{self._directory} has step {self._saving}, or a later one"

    def set_score(self, step: int, score: float) -> None:
        """Gives a step its score that was saved without, as its evaluation was left."""
        if multihost.is_first():
            directory = self._directory / str(step) / "metrics"
            shutil.rmtree(directory, ignore_errors=True)  # of a resume that was killed
            with files.atomic_directory(directory) as part:
                text = json.dumps(_metrics(step, score))
                (part / "metrics").write_text(text, encoding="utf-8")
            checksums.add(self._directory / str(step), "metrics")
        multihost.wait_for_all(f"step {step} has its score")
        self._manager.reload()

    def latest_step(self) -> int | None:
        """The newest step that was saved completely."""
        return max(self.all_steps(), default=None)

    def describe_newest(self) -> str:
        """The newest good checkpoint in a few words."""
        with contextlib.suppress(Exception):  # that of the failing save is told already
            self._manager.wait_until_finished()
        with contextlib.suppress(RunFailed):
            step = good_step(self._directory, reversed(self.all_steps()))
            if step is not None:
                return f"the newest good checkpoint is {self._directory / str(step)}"
        return f"no good checkpoint is in {self._directory}"

    def best_step(self) -> int | None:
        """The intact step of highest score, of equals the earliest; None: no scores.

        Raises: RunFailed: steps have scores, but none is intact.
        """
        with self._failing_by_name():
            self._manager.wait_until_finished()
        return good_step(self._directory, self._by_score(), MODEL_ITEMS)

    def _by_score(self) -> list[int]:
        """The steps that have a score, the best first; before them damaged scores."""
        damaged, scored = [], {}
        for step in self.all_steps():
            path = self._directory / str(step)
            if problem(path, ("metrics",)):
                damaged.append(step)
            elif found := _read_metrics(path):
                scored[step] = _rank(found)
        return damaged + sorted(scored, key=scored.__getitem__, reverse=True)

    def model_step(self) -> int | None:
        """The step whose model is of most use: the best, else the newest; intact.

        Raises: RunFailed: there are steps, but none is intact.
        """
        most_useful_first = dict.fromkeys(
            [*self._by_score(), *reversed(self.all_steps())]
        )
        return good_step(self._directory, most_useful_first, MODEL_ITEMS)

    def all_steps(self) -> list[int]:
        """The steps that were saved completely, in order."""
        return steps_in(self._directory)

    def restore(
        self, step: int, like: TrainState, fingerprint: dict[str, str]
    ) -> TrainState:
        """The state saved at `step`, laid out on devices as `like` (abstract or not).

        Raises: UserError if it was saved under another fingerprint, or has arrays of
                other names, shapes or dtypes.
        """
        self.check(step, fingerprint)
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

    def _check_arrays(self, step: int, params: Any, rest: Any) -> None:
        """Raises UserError naming the first array that is not as expected."""
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


def steps_in(directory: Path) -> list[int]:
    """The steps whose checkpoints have been given their names, in order."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if _is_step(path))


def _is_step(path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit() and path.is_dir()


def good_step(
    directory: Path, candidates: Iterable[int], items: Collection[str] = ()
) -> int | None:
    """The first of `candidates` that is intact; None if there is no candidate at all.

    A line says which were passed over, and why. Steps saved by a version that wrote no
    checksums are taken as they are, with a warning.
    Args:   items: the parts that must be intact; none named: all.
    Raises: RunFailed: none is.
    """
    problems: dict[int, str] = {}
    for step in candidates:
        if what := problem(directory / str(step), items):
            problems[step] = what
            continue
        for bad, what in problems.items():
            terminal.warn(
                f"{directory / str(bad)} is damaged: {what}; step {step:,} is used "
                "instead"
            )
        if not checksums.is_there(directory / str(step)):
            terminal.warn(
                f"{directory / str(step)} has no checksums, as an older version saved "
                "none; it is used unchecked"
            )
        return step
    if problems:
        listed = "; ".join(f"step {step}: {found}" for step, found in problems.items())
        raise RunFailed(
            f"no good checkpoint in {directory}: {listed}; nothing was changed there; "
            "bring an intact copy, or delete the directory and begin anew"
        )
    return None


def good_steps(
    directory: Path, candidates: Iterable[int], items: Collection[str] = ()
) -> list[int]:
    """Those of `candidates` that are intact, after a line about each that is not.

    Raises: RunFailed: none is.
    """
    found = {step: problem(directory / str(step), items) for step in candidates}
    good = [step for step, what in found.items() if not what]
    if not good:
        good_step(directory, found, items)
    for step, what in found.items():
        if what:
            terminal.warn(f"{directory / str(step)} is damaged: {what}; it is left out")
    return good


def problem(path: Path, items: Collection[str] = ()) -> str:
    """What is wrong with the checkpoint `path`; "": nothing that can be told."""
    if checksums.is_there(path) or not _is_of_older_version(path):
        return checksums.problem(path, items)
    return ""


def _is_of_older_version(path: Path) -> bool:
    """Returns whether the checkpoint `path` has never had checksums."""
    try:
        facts = json.loads((path / "fingerprint" / "metadata").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and not _CHECKSUMS.keys() & facts.keys()


def _set_damaged_aside(directory: Path) -> None:
    """Renames steps that a run can't go on from, so that it can save them again.

    They are those after the newest good one, and those whose score can't be read.
    Raises: RunFailed: there are steps, but none is good; all stay as they are.
    """
    steps = steps_in(directory)
    newest = good_step(directory, reversed(steps))
    if newest is None:
        return
    for step in steps:
        path = directory / str(step)
        if step > newest or problem(path, ("metrics",)):
            aside = directory / f"{step}{_DAMAGED}"
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def _read_metrics(path: Path) -> dict[str, float] | None:
    """What `save` was told of the score of the checkpoint `path`."""
    file = path / "metrics" / "metrics"
    return json.loads(file.read_bytes()) if file.is_file() else None


def _arrays(tree: Any) -> dict[str, str]:
    """Dtype and shape of each leaf, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype} of shape {list(leaf.shape)}"
        )
        for path, leaf in leaves
    }


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
