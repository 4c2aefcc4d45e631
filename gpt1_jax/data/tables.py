"""Rows of tables and lines of texts, from files in any of `formats`."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpt1_jax.data import formats
from gpt1_jax.errors import UserError, suggestion
from gpt1_jax.files import parse_json

# Rows of a parquet file that are read at once.
_BATCH_ROWS = 10_000
# Characters of a file's own column names that a message repeats.
_MAX_NAMED = 500

# csv refuses cells above 128 KiB, which a book's chapter may exceed.
csv.field_size_limit(sys.maxsize)


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
                raise formats.not_utf8(path, f"line {number}", raw, error) from None
            if number == 1:
                line = line.removeprefix("\ufeff")
            line = line.removesuffix("\n").removesuffix("\r")
            if keeps_blank or line.strip(" "):
                yield number, line


def read_rows(path: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of a table by column, with the place of each for messages.

    The first line of a csv or tsv names the columns. Blank lines are dropped.
    Args:   kind: csv, tsv, JSON Lines or parquet.
    Raises: UserError naming file and line.
    """
    if kind == formats.JSONL:
        yield from _read_objects(path)
    elif kind == formats.PARQUET:
        yield from _read_parquet(path)
    else:
        rows = read_csv(path) if kind == formats.CSV else read_tsv(path)
        _, header = next(rows, (1, []))
        if not header:
            raise UserError(
                f"{path} is empty; a first line that names the columns is expected; "
                "add it"
            )
        for number, row in rows:
            where = f"{path}: line {number}"
            if len(row) != len(header):
                raise UserError(
                    f"{where}: {len(row)} columns; {len(header)} are expected; correct "
                    "or remove the row"
                )
            yield where, dict(zip(header, row, strict=True))


def read_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of the rows; a quote is an ordinary character."""
    for number, line in read_lines(path):
        yield number, line.split("\t")


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of the rows; a cell may be quoted. [] is a blank line.

    Raises: UserError naming file and line.
    """
    # Cells may hold line ends, so only csv knows where a row ends; this pass says
    # which line is not UTF-8.
    for _ in read_lines(path):
        pass
    with formats.open_binary(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        rows = csv.reader(text, strict=True)
        try:
            for row in rows:
                yield rows.line_num, row
        except csv.Error as error:
            raise UserError(
                f"{path}: line {rows.line_num}: {error}; comma-separated cells, quoted "
                "where necessary, are expected; correct the row"
            ) from None


def _read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in read_lines(path):
        where = f"{path}: line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(
                f"{where}: {error}; a JSON object on each line is expected; correct or "
                "remove the line"
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{where} is a {type(row).__name__}; a JSON object on each line is "
                "expected; correct or remove the line"
            )
        yield where, row


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # Importing pyarrow takes a third of a second, and few files need it.
    import pyarrow
    import pyarrow.parquet

    try:
        with formats.open_binary(path) as file:
            number = 0
            source = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(file.read()))
            for batch in source.iter_batches(_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield f"{path}: row {number}", row
                    number += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path} is a damaged parquet file ({error}); a whole file is expected; "
            "copy it again"
        ) from None


def find_column(name: str, columns: Sequence[str]) -> str | None:
    """Returns the column that `name` means: itself, else one that differs by case."""
    if name in columns:
        return name
    same = [column for column in columns if column.strip().lower() == name.lower()]
    return same[0] if len(same) == 1 else None


def read_column(path: Path, kind: str, column: str) -> list[str]:
    """Returns the texts in a column of a table.

    Args:   column: its name; "": `text`, or the only column.
    Raises: UserError naming the columns; a cell that is not a text.
    """
    texts = []
    found = None
    for where, row in read_rows(path, kind):
        if found is None:
            found = _choose_column(path, column, list(row))
        text = row.get(found)
        if not isinstance(text, str):
            raise UserError(
                f"{where}: {text!r} in column {found}; a text is expected; correct or "
                "remove the row"
            )
        texts.append(text)
    return texts


def _choose_column(path: Path, given: str, columns: list[str]) -> str:
    name = given or (columns[0] if len(columns) == 1 else "text")
    found = find_column(name, columns)
    if found is None:
        raise UserError(
            f"{path} has no column {name!r}; its columns are {listed(columns)}; "
            f"{suggestion(name, columns, 'choose one with --column')}"
        )
    return found


def listed(columns: Sequence[str]) -> str:
    """Returns the names of columns for a message, cut where they are long."""
    names = ", ".join(columns)
    return names if len(names) <= _MAX_NAMED else f"{names[:_MAX_NAMED]} ..."
