"""The record of a run: metrics.jsonl, a line a logged step, and TensorBoard events.

Keys that depend on clock or machine contain `seconds`, `per_second` or `time`; all
others are functions of (config, data, seed), also across a resume.
"""

import contextlib
import json
from pathlib import Path
from types import TracebackType

import tensorboardX

from gpt1_jax import workdir as workdir_lib
from gpt1_jax.files import write_atomically
from gpt1_jax.training import hosts


class MetricsLog:
    """Appends rows; on opening, forgets rows behind the step that a run resumes at."""

    def __init__(self, workdir: Path, resumed_step: int):
        path = workdir / workdir_lib.METRICS_FILE
        _truncate(path, resumed_step)
        self._file = path.open("a", encoding="utf-8")
        self._board = tensorboardX.SummaryWriter(
            str(workdir), purge_step=resumed_step + 1, flush_secs=10
        )

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes the row of `step` with one write and one flush."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def write_text(self, step: int, name: str, text: str) -> None:
        """Shows `text` in TensorBoard; metrics.jsonl holds numbers only."""
        self._board.add_text(name, text, step)


class NoLog(contextlib.nullcontext):
    """What the processes that leave writing to the first have for a MetricsLog."""

    def __enter__(self) -> "NoLog":
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def write_text(self, step: int, name: str, text: str) -> None:
        """Nothing."""


def open_log(workdir: Path, resumed_step: int) -> MetricsLog | NoLog:
    """The log of a run: of the first process; the others have none."""
    return MetricsLog(workdir, resumed_step) if hosts.is_first() else NoLog()


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl, a torn last line left out."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _truncate(path: Path, last_step: int) -> None:
    if not path.is_file():
        return
    rows = [row for row in read(path) if row["step"] <= last_step]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if text != path.read_text(encoding="utf-8", errors="replace"):
        write_atomically(path, text)
