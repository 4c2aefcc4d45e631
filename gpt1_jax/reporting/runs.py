"""What workdirs say: config.json, metrics.jsonl, result.json, and nothing else of them.

A run may be unfinished or damaged; it is read as far as that goes.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt1_jax.config import STORYWORLD, RunConfig
from gpt1_jax.data.tasks import task_data
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.workdirs import metrics_log, model_store
from gpt1_jax.workdirs import workdir as workdir_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A workdir. result: {} unless it has finished. rows: of metrics.jsonl.

    name: the path as far as it tells the runs of a report apart.
    """

    path: Path
    name: str
    config: RunConfig
    result: Mapping[str, Any]
    rows: Sequence[Mapping[str, float]]

    @property
    def job(self) -> str:
        """What made it: a job, or convert."""
        return self.result.get("job", self.config.job)

    @property
    def is_finished(self) -> bool:
        """Returns whether it has a result."""
        return bool(self.result)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The result's; {} if there are none."""
        return self.result.get("metrics", {})

    @property
    def is_synthetic(self) -> bool:
        """Returns whether its scores are on storyworld."""
        if self.config.job == "pretrain":
            return self.config.data.corpus == STORYWORLD
        return task_data.is_storyworld(self.config.data)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """The steps at which the metric `name` was logged, and its values."""
        found = [(int(row["step"]), row[name]) for row in self.rows if name in row]
        return [step for step, _ in found], [value for _, value in found]


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A workdir that can't be read."""

    path: Path
    name: str
    why: str


def read(given: Iterable[Path]) -> tuple[list[Run], list[Damaged], list[str]]:
    """The runs at and under the paths, in order of path; those unreadable; warnings.

    Raises: NotFound: a path leads nowhere, or there is no workdir at all.
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
    """`run` with the data that it scored, the model's own where it names none."""
    if run.config.job not in ("evaluate", "zeroshot"):
        return run
    trained = source(run, others)
    if trained is None:
        return run
    data = task_data.select_data(trained.data, run.config.data)
    return dataclasses.replace(run, config=dataclasses.replace(run.config, data=data))


def source(run: Run, others: Iterable[Run]) -> RunConfig | None:
    """The config of the run that `run` started from; None: none, or not found.

    Found by its path, among the other runs or on disk; else by its name alone among
    them, as a study may have been moved.
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
    """The workdirs that paths lead to, each once, in order of path."""
    found: dict[Path, Path] = {}
    given = [path.expanduser() for path in given]
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
    """`root`, if it is a workdir, else those under it; a workdir holds no other."""
    for place, directories, names in os.walk(root):
        if {workdir_lib.CONFIG_FILE, workdir_lib.METRICS_FILE} & set(names):
            directories.clear()
            yield Path(place)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Each path below what all of them share; of a single one its last part."""
    absolute = {path: path.absolute() for path in paths}
    shared = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    return {path: str(whole.relative_to(shared)) for path, whole in absolute.items()}


def _read(path: Path, name: str) -> tuple[Run, list[str]]:
    """The run in `path`, and what is wrong with it."""
    config, warnings = workdir_lib.read_config(path), []
    try:
        result = workdir_lib.read_result(path) or {}
        if not _is_result(result):
            raise UserError(f"{path} has a result.json that is none of a run")
    except UserError as error:
        result = {}
        warnings.append(f"{error}; shown as not finished")
    else:
        if not result:
            warnings.append(f"{path} has not finished")
    log = path / workdir_lib.METRICS_FILE
    rows = metrics_log.read(log) if log.is_file() else []
    rows = [row for row in rows if isinstance(row, dict) and "step" in row]
    return Run(path, name, config, result, rows), warnings


def _is_result(result: Any) -> bool:
    """Returns whether it has what every result has, or is none."""
    if not isinstance(result, dict) or not isinstance(result.get("metrics", {}), dict):
        return False
    return not result or {"job", "steps"} <= result.keys()
