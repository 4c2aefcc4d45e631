"""The record of skipped steps: skipped.jsonl, a line a step whose numbers were not
finite, with what its batch held. A function of (config, data, seed), as a run is.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from gpt1_jax import terminal
from gpt1_jax.files import read_rows, write_atomically
from gpt1_jax.workdirs import workdir as workdir_lib


class Skips:
    """The steps that a run has skipped; those behind where it resumes are forgotten.

    Every process of a run keeps count; one writes.
    """

    def __init__(self, workdir: Path, resumed_step: int, *, writes: bool):
        self._path, self._writes = workdir / workdir_lib.SKIPPED_FILE, writes
        rows = read_rows(self._path, is_strict=True) if self._path.is_file() else []
        self._rows = [row for row in rows if row["step"] <= resumed_step]
        if len(self._rows) < len(rows):
            self._write()

    def add(
        self, step: int, values: Mapping[str, float], contents: dict[str, list[int]]
    ) -> None:
        """Notes a step: the numbers that it gave, and what its batch held."""
        given = {name: f"{value:g}" for name, value in values.items()}
        self._rows.append({"step": step} | contents | given)
        self._write()
        bad = next(n for n, text in given.items() if text.strip("-") in ("nan", "inf"))
        terminal.warn(
            f"step {step}: {bad} is {given[bad]}; it is skipped; {self._path} says "
            "what was in its batch"
        )

    def _write(self) -> None:
        if self._writes:
            text = "".join(json.dumps(row) + "\n" for row in self._rows)
            write_atomically(self._path, text)

    @property
    def count(self) -> int:
        """How many steps were skipped."""
        return len(self._rows)

    def in_a_row(self, step: int) -> int:
        """How many steps up to `step`, and with it, were skipped without a gap."""
        skipped = {row["step"] for row in self._rows}
        last = step
        while last in skipped:
            last -= 1
        return step - last
