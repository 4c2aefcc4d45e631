r"""Runs every combination of some fields' values, each in a workdir of its own.

    python -m gpt1_jax.sweep --config experiments/finetune.py:rte \
        --config.init.path=runs/pretrain --axis seed=0,1,2 --axis task.lm_coef=0.0,0.5

The same command continues a sweep; finished runs are not repeated. If a combination
fails, the others still run; on several hosts the sweep ends. --only 1/8 runs the first
of eight shares, for a job scheduler. The end is a table with medians over seeds, and
sweep.csv. Each workdir keeps its labels in labels.json, from which a report names its
groups.
"""

import importlib
import json
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app, experiment, grid
from gpt1_jax.cli.grid import Cell, Outcome
from gpt1_jax.config import RunConfig
from gpt1_jax.distributed import multihost, runtime
from gpt1_jax.errors import Preempted, RunFailed, UserError, text_of
from gpt1_jax.workdirs import workdir as workdir_lib

_CSV_FILE = "sweep.csv"
_MOST_COLUMNS = 4

_FLAGS = experiment.ExperimentFlags()
_AXIS = flags.DEFINE_multi_string(
    "axis",
    [],
    "FIELD=VALUE,...; none: the experiment's own axes.",
    flag_values=_FLAGS,
)
_ONLY = flags.DEFINE_string(
    "only", "", "I/N: the I-th of N shares; empty: all.", flag_values=_FLAGS
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    "",
    "Directory of all runs; empty: runs/sweep-EXPERIMENT[-WORDS].",
    flag_values=_FLAGS,
)


def main() -> None:
    """Runs the command."""
    base = experiment.resolve(_FLAGS)
    axes = grid.parse_axes(_AXIS.value)
    axes = axes or grid.of_experiment(experiment.axes(_FLAGS, base))
    if not axes:
        raise UserError(
            "no --axis; at least one is needed, as the experiment has no axes of its "
            "own; add one, as in --axis seed=0,1,2"
        )
    cells = grid.cells(axes)
    configs = [grid.config_of(base, cell) for cell in cells]
    for cell, config in zip(cells, configs, strict=True):
        experiment.check(config, {*_FLAGS.overrides, *cell.fields})
    name = experiment.default_workdir(_FLAGS).replace("runs/", "runs/sweep-", 1)
    root = files.expand(_WORKDIR.value or name)
    mine = grid.share(len(cells), _ONLY.value)
    files.check_writable(root, "name another --workdir")
    _refuse_other_sweep(root, cells)
    count = terminal.counted(len(cells), "combination")
    terminal.say(f"{root}: {count}, {len(mine)} of them here")
    failures = _run_cells(root, base, [(cells[n], configs[n]) for n in mine])
    outcomes = [
        _outcome(root, cell, failures.get(cell.directory, "")) for cell in cells
    ]
    if multihost.is_first():
        files.write_atomically(root / _CSV_FILE, grid.to_csv(cells, outcomes))
    names = _metrics(outcomes)
    terminal.say(grid.to_table(cells, outcomes, names[:_MOST_COLUMNS]))
    more = len(names[_MOST_COLUMNS:])
    terminal.say(
        f"{root / _CSV_FILE}: a row for each combination, with all metrics"
        + (f", {more} more of evaluation among them" if more else "")
    )
    if failures:
        raise RunFailed(
            f"{len(failures)} of {len(mine)} combinations failed, the others are done; "
            f"the first failure: {': '.join(next(iter(failures.items())))}; run the "
            "same command again to retry"
        )


@multihost.ends_together
def _run_cells(
    root: Path, base: RunConfig, runs: Sequence[tuple[Cell, RunConfig]]
) -> dict[str, str]:
    """Runs each cell that is not finished; returns the failures by directory."""
    runtime.prepare(base)
    failures: dict[str, str] = {}
    unfinished = sum(
        not workdir_lib.is_finished(root / cell.directory) for cell, _ in runs
    )
    with terminal.series(unfinished) as series:
        for place, (cell, config) in enumerate(runs, start=1):
            was_run = workdir_lib.is_finished(root / cell.directory)
            left = None if was_run else series.seconds_left()
            more = "" if left is None else f"; {terminal.duration(left)} left for all"
            terminal.say(f"[{place}/{len(runs)}] {cell.directory}{more}")
            if failure := _run_cell(root, cell, config, was_run=was_run):
                failures[cell.directory] = failure
            multihost.wait_for_all(f"{cell.directory} ended")
            if not was_run:
                series.end_run()
    return failures


def _run_cell(root: Path, cell: Cell, config: RunConfig, *, was_run: bool) -> str:
    """Runs a cell; returns its failure in one line, or ""."""
    if multihost.is_first():
        path = root / cell.directory / workdir_lib.LABELS_FILE
        files.write_atomically(path, json.dumps(cell.labels, indent=1) + "\n")
    job = importlib.import_module(f"gpt1_jax.jobs.{config.job}")
    try:
        job.run(config, root / cell.directory)
    except Preempted:
        raise
    except Exception as error:  # after any error the other cells still run
        if was_run and isinstance(error, UserError):
            raise  # this sweep has other settings: the table of that one stays
        if not multihost.is_alone():
            raise  # it has ended the other processes
        failure = " ".join(text_of(error).split())
        terminal.warn(f"{cell.directory} failed: {failure}")
        if not isinstance(error, UserError | RunFailed):
            path = root / f"{cell.directory}.traceback"
            files.write_atomically(path, traceback.format_exc())
            terminal.warn(f"{path} has its traceback")
        return failure
    return ""


def _refuse_other_sweep(root: Path, cells: Sequence[Cell]) -> None:
    """Raises a UserError if `root` has runs that are not combinations of this sweep."""
    ours = {cell.directory for cell in cells}
    for labels in sorted(root.glob(f"*/{workdir_lib.LABELS_FILE}")):
        if labels.parent.name not in ours:
            raise UserError(
                f"{root} holds another sweep, with {labels.parent.name}; a new "
                "directory is expected, or axes that include its values; name another "
                "--workdir"
            )


def _outcome(root: Path, cell: Cell, failure: str) -> Outcome:
    """Returns how `cell` ended, in this process or another."""
    try:
        result = workdir_lib.read_result(root / cell.directory)
    except UserError as error:
        return Outcome(f"failed: {error}", {})
    status = f"failed: {failure}" if failure else "done" if result else "not run"
    if not result:
        return Outcome(status, {})
    return Outcome(status, result["metrics"], result["seconds"])


def _metrics(outcomes: list[Outcome]) -> list[str]:
    """Returns the evaluation metrics, in the order of the results."""
    names: dict[str, None] = {}
    for outcome in outcomes:
        names |= dict.fromkeys(n for n in outcome.metrics if n.startswith("eval/"))
    return list(names)


if __name__ == "__main__":
    app.run(main, _FLAGS, is_resumable=True)
