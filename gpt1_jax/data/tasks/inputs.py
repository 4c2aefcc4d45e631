"""The user's own examples, without labels, for a task.

The task's row names the columns; `formats` says what a file holds.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpt1_jax.data import formats, tables
from gpt1_jax.data.tasks import readers
from gpt1_jax.data.tasks.examples import Columns, Example
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.errors import UserError
from gpt1_jax.terminal import counted


@dataclasses.dataclass(frozen=True)
class Input:
    """The user's examples, the rows that they are in, and notes for the user.

    A row has all columns of the file; that of a line of text has the task's column.
    """

    examples: tuple[Example, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


def read_input(task: Task, path: Path) -> Input:
    """Returns the examples of a file, in its order: one for each row or line.

    A table has the columns `task.columns` (and context and question columns) among
    others. Plain text whose first line names them, separated by tabs or commas, is read
    as a table too. For a task of kind single, plain text is a text a line otherwise.
    Raises: UserError, NotFound naming file and line.
    """
    columns = task.input_columns
    if not columns.parts:
        raise UserError(
            f"task {task.name} has no columns to read {path} by; it is a zero-shot "
            "task; choose another"
        )
    kind = formats.detect(path).kind
    notes = []
    if kind == formats.TEXT:
        kind = _kind_of_text(task, columns, path)
        if kind != formats.TEXT:
            notes.append(f"{path}: line 1 names the columns: it is read as {kind}")
    if kind == formats.TEXT:
        (column,) = task.columns
        lines = [line for _, line in tables.read_lines(path, keeps_blank=True)]
        examples = tuple(Example((line,), None) for line in lines)
        rows: tuple[Mapping[str, Any], ...] = tuple({column: line} for line in lines)
    else:
        if kind in (formats.TSV, formats.CSV):
            _refuse_blank_lines(path, kind)
        table = tables.open_table(path, kind)
        found = list(readers.read_with_rows(table, columns))
        examples = tuple(example for _, _, example in found)
        rows = tuple(row for _, row, _ in found)
    if not any(text.strip() for example in examples for text in example.parts):
        raise UserError(f"{path} holds no text; one in each row is expected; add some")
    empty = sum(not text.strip() for example in examples for text in example.parts)
    if empty:
        notes.append(f"{path}: {counted(empty, 'empty text')}")
    return Input(examples, rows, tuple(notes))


def _kind_of_text(task: Task, columns: Columns, path: Path) -> str:
    """Returns what plain text is read as: tsv or csv, by its first line, or text."""
    _, first = next(tables.read_lines(path), (1, ""))
    for kind, separator in ((formats.TSV, "\t"), (formats.CSV, ",")):
        header = [cell.strip('"') for cell in first.split(separator)]
        if all(tables.find_column(name, header) for name in columns.needed):
            return kind
    if task.kind == "single" and "\t" not in first:
        return formats.TEXT
    return formats.TSV


def _refuse_blank_lines(path: Path, kind: str) -> None:
    """Raises a UserError for a blank line between rows, as each row gets a label."""
    blank = 0
    rows: Iterable[tuple[int, bool]]
    if kind == formats.CSV:
        rows = [(number, not row) for number, row in tables.read_csv(path)]
    else:
        lines = tables.read_lines(path, keeps_blank=True)
        rows = [(number, not line.strip(" ")) for number, line in lines]
    for number, is_blank in rows:
        if is_blank:
            blank = blank or number
        elif blank:
            raise UserError(
                f"{path}: line {blank} is blank; each row gets a label; remove it, or "
                "write an empty text as two quotes in a csv"
            )
