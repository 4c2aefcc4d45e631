"""A table as rows of cells, and how numbers are written in it; Markdown of it.

What is in a table is decided elsewhere.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from gpt1_jax.reporting.groups import Cell

NOT_RUN, NOT_FINISHED, NONE = "not run", "not finished", "–"
SYNTHETIC = "synthetic data (storyworld)"
_MINUS = "−"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells, all text.

    name: letters for a link. num_heads: how many columns on the left say what a row is
    about; the others are set to the right. emphasised: the numbers of rows to stress.
    was_run: False where no run of ours is in it; it is then collapsed.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    is_synthetic: bool = False
    num_heads: int = 1
    emphasised: frozenset[int] = frozenset()
    was_run: bool = True

    def to_markdown(self) -> str:
        """The table with its title, mark and notes; one line if it was not run."""
        mark = f" ({SYNTHETIC})" if self.is_synthetic else ""
        title = f"**{escape_markdown(self.title)}{mark}**"
        if not self.was_run:
            return f"{title}: {NOT_RUN}."
        aligned = [
            ":--" if number < self.num_heads else "--:"
            for number in range(len(self.columns))
        ]
        lines = [_line(self.columns), _line(aligned, raw=True)]
        for number, row in enumerate(self.rows):
            stressed = number in self.emphasised
            lines.append(_line(row, bold=stressed))
        notes = [f"{escape_markdown(note)}" for note in self.notes]
        return "\n\n".join([title, "\n".join(lines), *notes])


def _line(cells: Iterable[str], *, raw: bool = False, bold: bool = False) -> str:
    texts = [cell if raw else escape_markdown(cell) for cell in cells]
    if bold:
        texts = [f"**{text}**" if text else "" for text in texts]
    return f"| {' | '.join(texts)} |"


def escape_markdown(text: str) -> str:
    """`text` so that Markdown shows it as it is, in a table's cell too."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;")
    text = text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    for mark in "*_`[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def percent(fraction: float) -> str:
    """`45.4` of 0.454."""
    return number(100 * fraction)


def number(value: float) -> str:
    """`45.4`, a half rounded up; with a true minus sign."""
    if not math.isfinite(value):
        return str(value)
    rounded = math.floor(abs(value) * 10 + 0.5 + 1e-9) / 10
    return f"{_MINUS if value < 0 and rounded else ''}{rounded:.1f}"


def signed(value: float) -> str:
    """`+1.2` or `−1.2`."""
    text = number(value)
    return text if text[0] == _MINUS or not float(text) else f"+{text}"


def score(cell: Cell) -> str:
    """`45.4`, or `45.4 (44.0 to 46.1)` over seeds, or why there is none; in percent."""
    if not cell.values:
        return NOT_FINISHED if cell.num_unfinished else NOT_RUN
    text, *ends = map(percent, (cell.median, min(cell.values), max(cell.values)))
    return text if ends == [text, text] else f"{text} ({' to '.join(ends)})"


def seeds(cell: Cell) -> str:
    """How many runs are behind a score."""
    if not cell.values and not cell.num_unfinished:
        return NONE
    parts = [str(len(cell.values))] if cell.values else []
    parts += [f"{cell.num_unfinished} {NOT_FINISHED}"] if cell.num_unfinished else []
    return " + ".join(parts)


def difference(cell: Cell, other_percent: float) -> str:
    """The points between a score's median and another score."""
    return signed(100 * cell.median - other_percent) if cell.values else NONE


def large(value: float) -> str:
    """`1.06 M` of 1,063,424."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:,.4g} {unit}".replace(",", " ")
    return f"{value:,.0f}"
