"""The record of a run: metrics.jsonl, a line a logged step, and TensorBoard events.

Keys that depend on clock or machine contain `seconds`, `per_second` or `time`; all
others are functions of (config, data, seed), also across a resume.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from gpt1_jax.distributed import multihost
from gpt1_jax.files import naming, read_rows, write_atomically
from gpt1_jax.workdirs import workdir as workdir_lib
from gpt1_jax.workdirs.skips import Skips
from gpt1_jax.workdirs.tensorboard import Board


class NoLog:
    """What the processes that leave writing to the first have for a MetricsLog.

    last_row: of the step that a run resumes at; {}: it has none. skips: see there.
    """

    _writes = False

    def __init__(self, workdir: Path, resumed_step: int):
        self._path = workdir / workdir_lib.METRICS_FILE
        self.skips = Skips(workdir, resumed_step, writes=self._writes)
        # What a line said that is damaged, but not by a kill, would be lost unseen.
        rows = read_rows(self._path, is_strict=True) if self._path.is_file() else []
        self._rows = [row for row in rows if row["step"] <= resumed_step]
        last = self._rows[-1] if self._rows else {}
        self.last_row = last if last.get("step") == resumed_step else {}

    def __enter__(self) -> "NoLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing."""

    def lacks_scores(self, step: int) -> bool:
        """Returns whether the run resumes at `step` and its row has no scores."""
        is_scored = any(name.startswith("eval/") for name in self.last_row)
        return self.last_row.get("step") == step and not is_scored

    def write(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def replace_last(self, row: dict[str, float]) -> None:
        """Nothing."""

    def write_text(self, step: int, name: str, text: str) -> None:
        """Nothing."""


class MetricsLog(NoLog):
    """Appends rows; on opening, forgets rows behind the step that a run resumes at."""

    _writes = True

    def __init__(self, workdir: Path, resumed_step: int):
        super().__init__(workdir, resumed_step)
        if self._path.is_file():
            self._rewrite()
        self._file = self._path.open("a", encoding="utf-8")
        is_new = not resumed_step and not self._rows
        self._board = Board(workdir, purge_step=0 if is_new else resumed_step + 1)

    def __exit__(self, *_: Any) -> None:
        try:
            with naming(self._path):
                self._file.close()
        finally:
            self._board.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes the row of `step` with one write and one flush."""
        with naming(self._path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        self._show(step, values)

    def replace_last(self, row: dict[str, float]) -> None:
        """Writes the row of the step that the run resumed at anew, before any other."""
        self._rows[-1] = row
        self._file.close()
        self._rewrite()
        self._file = self._path.open("a", encoding="utf-8")
        self._show(int(row["step"]), row)

    def _rewrite(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self._rows)
        if text != self._path.read_text(encoding="utf-8", errors="replace"):
            write_atomically(self._path, text)

    def _show(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if name != "step":
                self._board.add_scalar(name, value, step)

    def write_text(self, step: int, name: str, text: str) -> None:
        """Shows `text` in TensorBoard; metrics.jsonl holds numbers only."""
        self._board.add_text(name, text, step)


def open_log(workdir: Path, resumed_step: int) -> MetricsLog | NoLog:
    """The log of a run: of the first process; the others have none."""
    return (MetricsLog if multihost.is_first() else NoLog)(workdir, resumed_step)


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl, a torn last line left out."""
    return read_rows(path)
