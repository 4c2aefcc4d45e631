"""The user's own examples, without labels, for a task.

The task's row names the columns; `formats` says what a file holds.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gpt1_jax.data import formats, tables
from gpt1_jax.data.tasks.examples import Column, Columns, Example, Split
from gpt1_jax.data.tasks.rows import Task
from gpt1_jax.errors import UserError


def read_input(task: Task, path: Path) -> Split:
    """Returns the examples of a file, in its order: one for each row or line.

    A table has the columns `task.columns` (and context and question columns) among
    others. Plain text whose first line names them, separated by tabs or commas, is read
    as a table too. For a task of kind single, plain text is a text a line otherwise.
    Raises: UserError, NotFound naming file and line.
    """
    columns = Columns(
        task.columns, context=task.context_columns, question=task.question_columns
    )
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
        lines = tables.read_lines(path, keeps_blank=True)
        examples = tuple(Example((line,), None) for _, line in lines)
    else:
        if kind in (formats.TSV, formats.CSV):
            _refuse_blank_lines(path, kind)
        examples = tuple(_examples(path, kind, columns))
    if not any(text.strip() for example in examples for text in example.parts):
        raise UserError(f"{path} holds no text; one in each row is expected; add some")
    empty = sum(not text.strip() for example in examples for text in example.parts)
    if empty:
        notes.append(f"{path}: {empty:,} texts are empty")
    return Split(examples, tuple(notes))


def _kind_of_text(task: Task, columns: Columns, path: Path) -> str:
    """Returns what plain text is read as: tsv or csv, by its first line, or text."""
    _, first = next(tables.read_lines(path), (1, ""))
    for kind, separator in ((formats.TSV, "\t"), (formats.CSV, ",")):
        header = [cell.strip('"') for cell in first.split(separator)]
        if all(tables.find_column(str(name), header) for name in columns.needed):
            return kind
    if task.kind == "single" and "\t" not in first:
        return formats.TEXT
    return formats.TSV


def _examples(path: Path, kind: str, columns: Columns) -> list[Example]:
    examples, places = [], None
    for where, row in tables.read_rows(path, kind):
        if places is None:
            places = _find_columns(path, columns, list(row))
        texts = {column: row.get(name) for column, name in places.items()}
        examples.append(_example(where, texts, columns))
    if places is None and kind in (formats.TSV, formats.CSV):
        # A header alone: its names are checked like any other's.
        read = tables.read_tsv if kind == formats.TSV else tables.read_csv
        _, header = next(read(path), (1, []))
        _find_columns(path, columns, header)
    return examples


def _example(where: str, texts: Mapping[Column, object], columns: Columns) -> Example:
    row: dict[Column, str] = {}
    for column, text in texts.items():
        if not isinstance(text, str):
            raise UserError(
                f"{where}: {text!r} in column {column}; a text is expected; correct or "
                "remove the row"
            )
        row[column] = text
    example = columns.example(row, where, collections.Counter())
    assert example is not None  # none is left out for its label, as there are none
    return example


def _find_columns(
    path: Path, columns: Columns, header: Sequence[str]
) -> dict[Column, str]:
    """Returns the file's name for each column that the task needs."""
    found = {
        column: tables.find_column(str(column), header) for column in columns.needed
    }
    missing = ", ".join(str(column) for column, name in found.items() if name is None)
    if missing:
        raise UserError(
            f"{path}: the columns are {tables.listed(header)}; {missing} must be among "
            "them; correct the first line, or name the file .txt if each line is a text"
        )
    return {column: name for column, name in found.items() if name is not None}


def _refuse_blank_lines(path: Path, kind: str) -> None:
    """Raises a UserError for a blank line before the last row, as each row gets a label.

    Blank lines in quoted cells of a csv are part of them.
    """
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
