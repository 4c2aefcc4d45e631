"""The list of runs: a row for each workdir, as `gpt1 runs` prints it."""

import datetime
from collections.abc import Sequence

from gpt1_jax import terminal
from gpt1_jax.reporting import tables
from gpt1_jax.reporting.runs import Damaged, Run
from gpt1_jax.reporting.tables import NONE
from gpt1_jax.workdirs import intact, metrics_log, orbax_files, pruning
from gpt1_jax.workdirs import workdir as workdir_lib

COLUMNS = ("run", "job", "data", "parameters", "step", "score", "date", "disk")
_DATED_FILES = ("config.json", "metrics.jsonl", "result.json")


def rows(runs: Sequence[Run], damaged: Sequence[Damaged]) -> list[list[str]]:
    """Returns the names of the columns, and a row for each run, newest last."""
    ordered = sorted(runs, key=_changed)
    return [
        list(COLUMNS),
        *(_row(run) for run in ordered),
        *([one.name, "damaged", *[NONE] * (len(COLUMNS) - 2)] for one in damaged),
    ]


def _row(run: Run) -> list[str]:
    date = datetime.datetime.fromtimestamp(_changed(run))
    return [
        run.name,
        run.job,
        _data(run),
        _parameters(run),
        _step(run),
        _score(run),
        f"{date:%Y-%m-%d %H:%M}",
        terminal.size(pruning.disk(run.path)),
    ]


def _changed(run: Run) -> float:
    """Returns the time at which the run wrote last."""
    paths = [run.path / name for name in _DATED_FILES]
    return max(path.stat().st_mtime for path in paths if path.is_file())


def _data(run: Run) -> str:
    """Returns the task of a run, or the text that it is trained on."""
    return run.config.task.name or run.config.data.corpus or NONE


def _parameters(run: Run) -> str:
    """Returns the number of parameters in the newest checkpoint."""
    directory = run.path / workdir_lib.CHECKPOINTS_DIR
    steps = intact.steps_in(directory)
    if not steps:
        return NONE
    try:
        count = orbax_files.num_elements(directory / str(steps[-1]) / "params")
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged"
    return tables.large(count)


def _step(run: Run) -> str:
    """Returns the steps of a finished run, or `300 of 900` and `300 of 3 epochs`."""
    if run.is_finished:
        return f"{run.result['steps']:,}"
    if run.job in ("evaluate", "zeroshot"):
        return tables.NOT_FINISHED
    train = run.config.train
    total = f"{train.max_steps:,}" if train.max_steps else f"{train.epochs} epochs"
    last = int(run.rows[-1]["step"]) if run.rows else 0
    return f"{last:,} of {total}"


def _score(run: Run) -> str:
    """Returns the first metric of the last evaluation that is not the loss."""
    rows = [found for row in run.rows if (found := metrics_log.scores(row))]
    scores = metrics_log.scores(run.metrics) or (rows[-1] if rows else {})
    names = [name for name in scores if name != "eval/loss"]
    if not names:
        return NONE
    return f"{names[0].removeprefix('eval/')} {scores[names[0]]:.4g}"
