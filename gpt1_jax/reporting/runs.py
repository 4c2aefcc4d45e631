"""Runs, read from the config, the log, the result and the labels in their workdirs.

An unfinished or damaged run is read as far as possible.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt1_jax import files
from gpt1_jax.config import STORYWORLD, RunConfig
from gpt1_jax.data.tasks import task_data
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.workdirs import metrics_log, model_store
from gpt1_jax.workdirs import workdir as workdir_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run, as its workdir describes it.

    name: its path below the directory that all runs of the report share.
    result: {} unless it has finished. rows: those of metrics.jsonl.
    labels: the label of each axis of the sweep that made it; {}: no sweep did.
    """

    path: Path
    name: str
    config: RunConfig
    result: Mapping[str, Any]
    rows: Sequence[Mapping[str, float]]
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def job(self) -> str:
        """The job that made the workdir, or convert."""
        return self.result.get("job", self.config.job)

    @property
    def is_finished(self) -> bool:
        """Returns whether it has a result."""
        return bool(self.result)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the result; {} unless the run has finished."""
        return self.result.get("metrics", {})

    @property
    def is_synthetic(self) -> bool:
        """Returns whether the run was scored on storyworld."""
        if self.config.job == "pretrain":
            return self.config.data.corpus == STORYWORLD
        return task_data.is_storyworld(self.config.data)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Returns the steps at which the metric `name` was logged, and its values."""
        found = [(int(row["step"]), row[name]) for row in self.rows if name in row]
        return [step for step, _ in found], [value for _, value in found]


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A workdir that cannot be read, and the reason."""

    path: Path
    name: str
    why: str


def read(given: Iterable[Path]) -> tuple[list[Run], list[Damaged], list[str]]:
    """Returns the runs at and below the paths, the damaged workdirs, and warnings.

    Raises: NotFound: a path does not exist, or no workdir is found.
    """
    paths = _workdirs(given)
    names = _names(paths)
    found: list[Run] = []
    damaged, warnings = [], []
    for path in paths:
        try:
            run, notes = _read(path, names[path])
        except (UserError, OSError) as error:
            damaged.append(Damaged(path, names[path], str(error)))
            warnings.append(f"{path} is left out: {error}")
            continue
        found.append(run)
        warnings += notes
    return [_resolved(run, found) for run in found], damaged, warnings


def _resolved(run: Run, others: Sequence[Run]) -> Run:
    """Returns `run` with its model's data if its own config names none."""
    if run.config.job not in ("evaluate", "zeroshot"):
        return run
    trained = source(run, others)
    if trained is None:
        return run
    data = task_data.select_data(trained.data, run.config.data)
    return dataclasses.replace(run, config=dataclasses.replace(run.config, data=data))


def source(run: Run, others: Iterable[Run]) -> RunConfig | None:
    """Returns the config of the run that `run` started from; None: not found.

    It is looked for by its path, then by its directory's name among the other runs, as
    a study may have been moved.
    """
    path = run.config.init.path
    if path == "none":
        return None
    directory, _ = model_store.workdir_and_step(path)
    absolute = directory.absolute()
    others = [other for other in others if other is not run]
    for other in others:
        if other.path.absolute() == absolute:
            return other.config
    try:
        return model_store.read_config(path)
    except (UserError, OSError):
        named = [other for other in others if other.path.name == directory.name]
        return named[0].config if len(named) == 1 else None


def _workdirs(given: Iterable[Path]) -> list[Path]:
    """Returns the workdirs at and below the paths, each once, in order of path."""
    found: dict[Path, Path] = {}
    given = [files.expand(path) for path in given]
    for path in given:
        if not path.is_dir():
            raise NotFound(
                f"no directory {path}; a workdir, or a directory of workdirs, is "
                "expected; check the path"
            )
        for workdir in _walk(path):
            found.setdefault(workdir.resolve(), workdir)
    if not found:
        shown = ", ".join(map(str, given))
        raise NotFound(
            f"no run in {shown}: no {workdir_lib.CONFIG_FILE} at or under it; a "
            "workdir of gpt1_jax.main, or a directory of some, is expected; check the "
            "path, or train first"
        )
    return sorted(found.values())


def _walk(root: Path) -> Iterator[Path]:
    """Yields `root` if it is a workdir, else the workdirs below it."""
    for place, directories, names in os.walk(root):
        if {workdir_lib.CONFIG_FILE, workdir_lib.METRICS_FILE} & set(names):
            directories.clear()
            yield Path(place)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Returns each path below the directory that all of them share."""
    absolute = {path: path.absolute() for path in paths}
    shared = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    return {path: str(whole.relative_to(shared)) for path, whole in absolute.items()}


def _read(path: Path, name: str) -> tuple[Run, list[str]]:
    """Returns the run in `path`, and warnings about it."""
    config, warnings = workdir_lib.read_config(path), []
    try:
        result = workdir_lib.read_result(path) or {}
        if not _is_result(result):
            raise UserError(f"the result.json of {path} is not the result of a run")
    except UserError as error:
        result = {}
        warnings.append(f"{error}; shown as not finished")
    else:
        if not result:
            warnings.append(f"{path} has not finished")
    log = path / workdir_lib.METRICS_FILE
    rows = metrics_log.read(log) if log.is_file() else []
    rows = [row for row in rows if isinstance(row, dict) and "step" in row]
    labels = _labels(path / workdir_lib.LABELS_FILE, warnings)
    return Run(path, name, config, result, rows, labels), warnings


def _labels(path: Path, warnings: list[str]) -> dict[str, str]:
    """Returns the labels in a file; {} if there are none. Warns of damage."""
    if not path.is_file():
        return {}
    try:
        labels = files.parse_json(path.read_bytes())
    except ValueError:
        labels = None
    if isinstance(labels, dict) and all(isinstance(x, str) for x in labels.values()):
        return labels
    warnings.append(f"{path} is damaged; the run is named by its config instead")
    return {}


def _is_result(result: Any) -> bool:
    """Returns whether `result` is empty or has the fields of every result."""
    if not isinstance(result, dict) or not isinstance(result.get("metrics", {}), dict):
        return False
    return not result or {"job", "steps"} <= result.keys()
