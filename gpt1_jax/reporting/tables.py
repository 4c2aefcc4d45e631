"""A table as rows of text, and the way that numbers are written in it."""

import dataclasses
import math
from collections.abc import Collection, Sequence

from gpt1_jax.reporting.groups import Cell

NOT_RUN, NOT_FINISHED, NONE = "not run", "not finished", "–"
SYNTHETIC = "synthetic data (storyworld)"
_MINUS = "−"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells, all text.

    name: an anchor of the page. missing: rows of the paper's results that were not run;
    they are collapsed. num_heads: the number of left columns that say what a row is
    about; the other columns are aligned to the right. emphasised: indices of rows.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    missing: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    is_synthetic: bool = False
    num_heads: int = 1
    emphasised: Collection[int] = ()

    @property
    def was_run(self) -> bool:
        """Returns whether any run is in it."""
        return bool(self.rows)

    @property
    def missing_names(self) -> str:
        """The first cells of the missing rows, in one line."""
        return "; ".join(dict.fromkeys(row[0] for row in self.missing))

    def without(self, *columns: str) -> "Table":
        """Returns the table without these columns."""
        kept = [n for n, column in enumerate(self.columns) if column not in columns]
        return dataclasses.replace(
            self,
            columns=[self.columns[n] for n in kept],
            rows=[[row[n] for n in kept] for row in self.rows],
            missing=[[row[n] for n in kept] for row in self.missing],
        )


def percent(fraction: float) -> str:
    """Writes 0.454 as `45.4`."""
    return number(100 * fraction)


def number(value: float) -> str:
    """Writes a number as `45.4`, with a half rounded up and a true minus sign."""
    if not math.isfinite(value):
        return str(value)
    rounded = math.floor(abs(value) * 10 + 0.5 + 1e-9) / 10
    return f"{_MINUS if value < 0 and rounded else ''}{rounded:.1f}"


def signed(value: float) -> str:
    """Writes a number as `+1.2` or `−1.2`."""
    text = number(value)
    return text if text[0] == _MINUS or not float(text) else f"+{text}"


def score(cell: Cell) -> str:
    """Writes a cell in percent, as `45.4`, `45.4 (44.0 to 46.1)` or `not run`."""
    if not cell.values:
        return NOT_FINISHED if cell.num_unfinished else NOT_RUN
    text, *ends = map(percent, (cell.median, min(cell.values), max(cell.values)))
    return text if ends == [text, text] else f"{text} ({' to '.join(ends)})"


def seeds(cell: Cell) -> str:
    """Writes how many seeds a score has, as `2` or `2 + 1 not finished`."""
    if not cell.values and not cell.num_unfinished:
        return NONE
    parts = [str(len(cell.values))] if cell.values else []
    parts += [f"{cell.num_unfinished} {NOT_FINISHED}"] if cell.num_unfinished else []
    return " + ".join(parts)


def difference(cell: Cell, other_percent: float) -> str:
    """Writes the points from another score to a cell's median."""
    return signed(100 * cell.median - other_percent) if cell.values else NONE


def large(value: float) -> str:
    """Writes 1,063,424 as `1.063 M`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:,.4g} {unit}".replace(",", " ")
    return f"{value:,.0f}"


def joined(*texts: str) -> str:
    """Joins the texts that are not empty, as `ours, 4 epochs, dev`."""
    return ", ".join(filter(None, texts))
