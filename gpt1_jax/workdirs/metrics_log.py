"""The record of a run: metrics.jsonl, skipped.jsonl, TensorBoard's events, a tracker.

metrics.jsonl has a row for each logged step, skipped.jsonl one for each step that was
skipped because its numbers were not finite. Keys that depend on clock or machine
contain `seconds`, `per_second` or `time`; all others are functions of (config, data,
seed), also across a resume.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt1_jax import files, terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.distributed import multihost
from gpt1_jax.files import naming, read_rows, write_atomically
from gpt1_jax.workdirs import workdir as workdir_lib
from gpt1_jax.workdirs.tensorboard import EventFile
from gpt1_jax.workdirs.tracker import Tracker


class MetricsLog:
    """The log of a run. Opening it drops the rows after the step that it resumes at.

    A run that begins resumes at step -1, as step 0 may have a row. Every process of a
    run opens a log; only that of the first process writes.
    last_row: the row of the step that the run resumes at; {} if there is none.
    earlier_rows: the rows up to that step, in order.
    """

    def __init__(
        self, workdir: Path, resumed_step: int, config: RunConfig | None = None
    ):
        """Opens the log; without `config` no tracker gets the metrics."""
        self._is_writer = multihost.is_first()
        self._path = workdir / workdir_lib.METRICS_FILE
        self._skipped_path = workdir / workdir_lib.SKIPPED_FILE
        self._rows = _rows_until(self._path, resumed_step)
        self._skipped = _rows_until(self._skipped_path, resumed_step)
        self.earlier_rows = tuple(self._rows)
        last = self._rows[-1] if self._rows else {}
        self.last_row = last if last.get("step") == resumed_step else {}
        if self._is_writer:
            _rewrite(self._path, self._rows)
            _rewrite(self._skipped_path, self._skipped)
            self._file = self._path.open("a", encoding="utf-8")
            is_new = not resumed_step and not self._rows
            self._events = EventFile(workdir, 0 if is_new else resumed_step + 1)
            self._tracker = Tracker(workdir, config or RunConfig())

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._is_writer:
            try:
                with naming(self._path):
                    self._file.close()
            finally:
                self._tracker.close()
                self._events.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the row of `step` with one write and one flush."""
        self._rows.append({"step": step, **values})
        if self._is_writer:
            with naming(self._path):
                self._file.write(json.dumps(self._rows[-1]) + "\n")
                self._file.flush()
            self._events.add_scalars(values, step)
            self._tracker.add_scalars(values, step)

    def sync(self) -> None:
        """Returns once all rows are on disk, as a checkpoint must not precede them."""
        if self._is_writer:
            with naming(self._path):
                os.fsync(self._file.fileno())
            files.sync_directory(self._path.parent)

    @property
    def num_rows(self) -> int:
        """The number of rows in metrics.jsonl."""
        return len(self._rows)

    @property
    def rows(self) -> Sequence[Mapping[str, float]]:
        """The rows of metrics.jsonl, in order, on every process."""
        return tuple(self._rows)

    def replace_last(self, row: dict[str, float]) -> None:
        """Writes the row of the resumed step again, before any other row.

        If metrics.jsonl has lost it, the row is added.
        """
        if not self.last_row:
            self._rows.append(row)
        self._rows[-1] = row
        if self._is_writer:
            self._file.close()
            _rewrite(self._path, self._rows)
            self._file = self._path.open("a", encoding="utf-8")
            values = {name: value for name, value in row.items() if name != "step"}
            self._events.add_scalars(values, int(row["step"]))
            self._tracker.add_scalars(values, int(row["step"]))

    def write_text(self, step: int, name: str, text: str) -> None:
        """Shows `text` in TensorBoard; metrics.jsonl holds numbers only."""
        if self._is_writer:
            self._events.add_text(name, text, step)

    @property
    def skipped_steps(self) -> list[int]:
        """The steps that the run has skipped, in order."""
        return [row["step"] for row in self._skipped]

    def add_skipped(
        self, step: int, values: Mapping[str, float], contents: dict[str, list[int]]
    ) -> None:
        """Records a skipped step: its metrics, and what its batch held."""
        shown = {name: f"{value:g}" for name, value in values.items()}
        self._skipped.append({"step": step} | contents | shown)
        if self._is_writer:
            _rewrite(self._skipped_path, self._skipped)
        bad = next(n for n, text in shown.items() if text.strip("-") in ("nan", "inf"))
        terminal.warn(
            f"step {step}: {bad} is {shown[bad]}; the step is skipped; "
            f"{self._skipped_path} says what was in its batch"
        )


def _rows_until(path: Path, step: int) -> list[dict[str, Any]]:
    """Returns the rows of `path` up to `step`.

    Raises: UserError: a line that no kill has torn is damaged. Going on would lose the
            rows after it.
    """
    rows = read_rows(path, is_strict=True) if path.is_file() else []
    return [row for row in rows if row["step"] <= step]


def _rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
    """Makes `rows` the content of `path`, unless they are."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    is_file = path.is_file()
    before = path.read_text(encoding="utf-8", errors="replace") if is_file else ""
    if text != before:
        write_atomically(path, text)


def scores(row: Mapping[str, float]) -> dict[str, float]:
    """Returns the eval/ metrics of a row."""
    return {name: value for name, value in row.items() if name.startswith("eval/")}


def best_and_last(
    rows: Sequence[Mapping[str, float]],
    best: int,
    evaluate: Callable[[], Mapping[str, float]],
) -> dict[str, float]:
    """Returns `eval/` of the best step, `last_eval/` of the last, and `best_step`.

    Args: evaluate: returns `eval/` of the best step; called only if its row was lost.
    """
    of_best = next((scores(row) for row in rows if row["step"] == best), {})
    if not of_best:
        terminal.say(
            f"{workdir_lib.METRICS_FILE} has no scores of step {best}, the best; "
            "it is evaluated again"
        )
        of_best = scores(evaluate())
    last = {f"last_{name}": value for name, value in scores(rows[-1]).items()}
    return of_best | last | {"best_step": best}


def first_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns `first_eval/` of the evaluation before the first step; {} without one."""
    first = rows[0] if rows and rows[0]["step"] == 0 else {}
    return {f"first_{name}": value for name, value in scores(first).items()}


def read(path: Path) -> list[dict[str, float]]:
    """Returns the rows of a metrics.jsonl, without a torn last line."""
    return read_rows(path)
