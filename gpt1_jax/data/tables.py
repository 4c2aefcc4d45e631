"""Tables and lines of text, from files in any of `formats`."""

import csv
import dataclasses
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt1_jax.data import columnar, formats
from gpt1_jax.errors import UserError, suggestion
from gpt1_jax.files import parse_json
from gpt1_jax.terminal import counted

# Characters of a file's own column names that a message repeats.
_MAX_NAMED = 500

# Tab-separated cells that are quoted as in csv, which is no format of the user's files.
QUOTED_TSV = "quoted tsv"

Column = str | int  # a name, or a place from 0 where there is no header

# csv refuses cells above 128 KiB, which a chapter of a book may exceed.
csv.field_size_limit(sys.maxsize)


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a table, and its rows."""

    columns: Sequence[Column]
    where: str  # the place that names the columns, for messages
    # The place of each row for messages, and its cells. A csv or tsv row may lack the
    # last columns.
    rows: Iterator[tuple[str, Mapping[Any, Any]]]
    are_objects: bool = False  # each row has the names of its columns: not csv or tsv


def read_lines(path: Path, *, keeps_blank: bool = False) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a UTF-8 file with their numbers, from 1.

    A line ends at `\n` or `\r\n` only: texts hold other characters that Unicode calls
    line ends. A byte-order mark is dropped. Blank lines are dropped by default.
    Raises: UserError naming the line that is not UTF-8.
    """
    with formats.open_binary(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                byte = f"line {number}: byte 0x{raw[error.start]:02x}"
                raise formats.not_utf8(path, byte, raw) from None
            if number == 1:
                line = line.removeprefix("\ufeff")
            line = line.removesuffix("\n").removesuffix("\r")
            if keeps_blank or line.strip(" "):
                yield number, line


def open_table(
    path: Path, kind: str, *, num_columns: int = 0, ignores_more: bool = False
) -> Table:
    """Returns the table in a file; its rows are read as they are used.

    Blank lines are dropped. In a tsv a quote is an ordinary character. A parquet or
    Arrow file of Hugging Face's datasets has the names of classes beside their numbers:
    its rows have the names.
    Args:   kind: one of formats.TABLES, or QUOTED_TSV. num_columns: of a csv or
            tsv without a header, whose columns are numbered from 0; 0: the first line
            names them. ignores_more: columns after num_columns are dropped.
    Raises: UserError naming file and line, here or while rows are read.
    """
    if kind == formats.JSONL:
        return _object_table(path, _read_objects(path))
    if kind in columnar.KINDS:
        return _object_table(path, columnar.read_rows(path, kind))
    if kind == formats.TSV:
        lines = _read_tsv(path)
    else:
        lines = read_csv(path, "\t" if kind == QUOTED_TSV else ",")
    most = num_columns if ignores_more else None
    rows = ((number, cells[:most]) for number, cells in lines if cells)
    if num_columns:
        places = range(num_columns)
        return Table(places, str(path), _named_rows(path, rows, places))
    _, header = next(rows, (1, []))
    if not header:
        raise UserError(
            f"{path} is empty; a first line that names the columns is expected; add it"
        )
    return Table(header, f"{path}: line 1", _named_rows(path, rows, header))


def _named_rows(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: Sequence[Column]
) -> Iterator[tuple[str, dict[Column, Any]]]:
    for number, cells in rows:
        where = f"{path}: line {number}"
        if len(cells) > len(columns):
            raise UserError(
                f"{where}: {counted(len(cells), 'column')}; {len(columns)} are "
                "expected; correct or remove the row"
            )
        yield where, dict(zip(columns, cells, strict=False))


def _object_table(path: Path, rows: Iterator[tuple[str, dict[str, Any]]]) -> Table:
    """Returns a table whose columns are the keys of its first row."""
    first = next(rows, None)
    if first is None:
        raise _no_rows(path)

    def all_rows() -> Iterator[tuple[str, dict[str, Any]]]:
        yield first
        yield from rows

    return Table(list(first[1]), str(path), all_rows(), are_objects=True)


def _no_rows(path: Path) -> UserError:
    return UserError(f"{path} is empty; a row is expected; add one")


def _read_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        yield number, line.split("\t")


def read_csv(path: Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each row; a blank line has no cells.

    Raises: UserError naming file and line.
    """
    # Cells may hold line ends, so only csv knows where a row ends; this pass says
    # which line is not UTF-8.
    for _ in read_lines(path):
        pass
    with formats.open_binary(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        rows = csv.reader(text, delimiter=separator, strict=True)
        try:
            for row in rows:
                yield rows.line_num, row
        except csv.Error as error:
            name = "comma" if separator == "," else "tab"
            raise UserError(
                f"{path}: line {rows.line_num}: {error}; {name}-separated cells, "
                "quoted where necessary, are expected; correct the row"
            ) from None


def _read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in read_lines(path):
        where = f"{path}: line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            place = where
            if isinstance(error, json.JSONDecodeError):
                place, error = f"{where}, column {error.colno}", ValueError(error.msg)
            raise UserError(
                f"{place}: {error}; a JSON object on each line is expected; correct or "
                "remove the line"
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{where} is a {type(row).__name__}; a JSON object on each line is "
                "expected; correct or remove the line"
            )
        yield where, row


def find_column(name: Column, columns: Sequence[Column]) -> Column | None:
    """Returns the column that `name` means: itself, else one that differs by case."""
    if name in columns:
        return name
    folded = str(name).lower()
    same = [column for column in columns if str(column).strip().lower() == folded]
    return same[0] if len(same) == 1 else None


def read_column(path: Path, kind: str, name: str) -> list[str]:
    """Returns the texts in a column of a table.

    Args:   name: the column's; "": `text`, or the only column.
    Raises: UserError naming the columns; a cell that is not a text.
    """
    return list(stream_texts(path, kind, name, "--column"))


def stream_texts(
    path: Path, kind: str, name: str, flag: str, *, allows_null: bool = False
) -> Iterator[str]:
    """Yields the texts in a column of a table, as they are read.

    Args:   name: the column's; "": `text`, or the only column. flag: the option that
            names the column, for the message. allows_null: a null is an empty text.
    Raises: UserError naming the columns where none has that name, in the table or in a
            row; a cell that is not a text.
    """
    if kind in columnar.KINDS:
        with columnar.open_file(path, kind) as file:
            column = _text_column(path, name, file.schema.names, flag)
        cells = columnar.read_cells(path, kind, str(column))
    else:
        table = open_table(path, kind)
        column = _text_column(path, name, table.columns, flag)
        cells = ((where, _cell(where, column, row)) for where, row in table.rows)
    is_empty = True
    for where, cell in cells:
        is_empty = False
        if cell is None and allows_null:
            cell = ""
        if not isinstance(cell, str):
            raise UserError(
                f"{where}: {cell!r} in column {column}; a text is expected; correct or "
                "remove the row"
            )
        yield cell
    if is_empty and kind in columnar.KINDS:
        raise _no_rows(path)


def _text_column(path: Path, name: str, columns: Sequence[Column], flag: str) -> Column:
    """Returns the column of a table that `name` means, as stream_texts."""
    name = name or (str(columns[0]) if len(columns) == 1 else "text")
    column = find_column(name, columns)
    if column is None:
        remedy = suggestion(name, map(str, columns), f"choose one of them with {flag}")
        raise UserError(
            f"{path} has no column {name!r}; its columns are {listed(columns)}; "
            f"{remedy}"
        )
    return column


def _cell(where: str, column: Column, row: Mapping[Any, Any]) -> Any:
    """Returns the cell of a row in a column; raises a UserError where it has none."""
    if column in row:
        return row[column]
    found = find_column(column, list(row))
    if found is None:
        raise UserError(
            f"{where} has no column {column!r}; its columns are {listed(list(row))}; "
            "correct or remove the row"
        )
    return row[found]


def read_texts(path: Path, column: str) -> list[str]:
    r"""Returns the texts of a file: its lines, split at `\n` only, or a column.

    A final newline ends the last line and begins none.
    Raises: UserError, NotFound: see the messages.
    """
    kind = formats.detect(path).kind
    if kind != formats.TEXT:
        return read_column(path, kind, column)
    if column:
        raise UserError(
            f"--column={column}, but {path} is plain text; a table is expected; drop "
            f"--column, or name the file by what it holds"
        )
    with formats.open_binary(path) as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"line {line}: byte 0x{raw[error.start]:02x}"
        raise formats.not_utf8(path, byte, raw) from None
    return text.removesuffix("\n").split("\n") if text else []


def listed(columns: Sequence[Column]) -> str:
    """Returns the names of columns for a message, cut where they are long."""
    names = ", ".join(map(str, columns))
    return names if len(names) <= _MAX_NAMED else f"{names[:_MAX_NAMED]} ..."
