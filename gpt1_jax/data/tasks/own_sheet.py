"""A table of the user's own labels in memory, and the meaning of its cells."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax.data import tables
from gpt1_jax.errors import UserError, suggestion


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table in memory: its columns, and its rows with their places."""

    where: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[Any, Any]], ...]

    def cells(self, column: str) -> list[Any]:
        """Returns the cells of a column; None where a row lacks it."""
        return [row.get(column) for _, row in self.rows]


def label_text(cell: Any) -> str:
    """Returns the text of a cell of labels; "" where there is none.

    Whole numbers have no decimals: parquet has floats where labels are missing.
    """
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        if math.isnan(cell):
            return ""
        return str(int(cell)) if cell.is_integer() else str(cell)
    return "" if cell is None else str(cell).strip()


def parse_number(text: str) -> float:
    """Returns the number in a text, or NaN."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def named(sheet: Sheet, field: str, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the table's columns of the names in a config field."""
    found = []
    for name in filter(None, map(str.strip, names)):
        column = tables.find_column(name, sheet.columns)
        if column is None:
            hint = suggestion(name, sheet.columns, "name one of these")
            raise UserError(
                f"config.data.{field}: {sheet.where} has no column {name!r}; its "
                f"columns are {tables.listed(sheet.columns)}; {hint}"
            )
        found.append(str(column))
    return tuple(found)
