"""Readers of tables: generators of `Example`s from tsv, csv and jsonl files.

No reader knows a task; `layouts` has the format of each task's files. Readers neither
tokenize nor shuffle. They skip blank lines, and count every other row that they skip in
the argument `skipped`, by reason.
"""

import collections
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt1_jax.data.tasks.examples import Column, Columns, Example
from gpt1_jax.errors import UserError
from gpt1_jax.files import parse_json

# The most characters of a file's column names that a message repeats.
_MAX_NAMED_CHARS = 500

SHORT_ROW = "rows with too few columns"


def read_lines(path: Path, *, keeps_blank: bool = False) -> Iterator[tuple[int, str]]:
    r"""Yields the number, from 1, and the text of each line of a UTF-8 file.

    A line ends at `\n` or `\r\n` only, as texts contain other characters that Unicode
    calls line ends. A byte-order mark is dropped.
    Args:   keeps_blank: False skips lines that are empty or have only spaces.
    Raises: UserError naming the line that is not UTF-8.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise UserError(
                    f"{path}: line {number}: byte 0x{byte:02x} is not UTF-8; the "
                    "tasks' files are UTF-8; convert it with `iconv -t UTF-8`"
                ) from None
            if number == 1:
                line = line.removeprefix("\ufeff")
            line = line.removesuffix("\n").removesuffix("\r")
            if keeps_blank or line.strip(" "):
                yield number, line


def read_tsv(
    path: Path,
    skipped: collections.Counter[str],
    *,
    columns: Columns,
    has_header: bool = True,
    skips_short: bool = False,
) -> Iterator[Example]:
    """Yields the examples of a tab-separated file; quotes are ordinary characters.

    Args:
      columns: names, or places from 0 in a file without a header.
      skips_short: skips and counts rows that lack a needed column (QQP has some);
        otherwise they are errors.
    Raises: UserError naming file and line.
    """
    rows = ((number, line.split("\t")) for number, line in read_lines(path))
    if has_header:
        _, header = next(rows, (1, []))
        places = _find_columns(path, header, columns)
        num_columns = len(header)
    else:
        places = {column: int(column) for column in columns.needed}
        num_columns = max(places.values()) + 1
    for number, row in rows:
        where = f"{path}: line {number}"
        if len(row) <= max(places.values()) and skips_short:
            skipped[SHORT_ROW] += 1
            continue
        _check_length(row, places, num_columns, where)
        named = {column: row[place] for column, place in places.items()}
        example = columns.example(named, where, skipped)
        if example:
            yield example


def _find_columns(
    path: Path, header: Sequence[str], columns: Columns
) -> dict[Column, int]:
    """Returns the place of each needed column in a header."""
    if not header:
        raise UserError(
            f"{path} is empty; a first line that names the columns is expected; use "
            "the official file"
        )
    found = ", ".join(header)
    if len(found) > _MAX_NAMED_CHARS:
        found = f"{found[:_MAX_NAMED_CHARS]} ..."
    label = columns.labels.column if columns.labels else None
    missing = [str(column) for column in columns.needed if column not in header]
    if missing == [label]:
        raise UserError(
            f"{path}: line 1: no labels: column {label} is missing among {found}; a "
            "labelled split is expected; use the split that has labels, or predict"
        )
    if missing:
        raise UserError(
            f"{path}: line 1: the columns are {found}; {', '.join(missing)} must be "
            "among them; correct the first line, or use the official file"
        )
    return {column: header.index(column) for column in columns.needed}


def _check_length(
    row: Sequence[str], places: Mapping[Column, int], num_columns: int, where: str
) -> None:
    """Raises UserError for a row that lacks a needed column or has too many columns."""
    if not max(places.values()) < len(row) <= num_columns:
        raise UserError(
            f"{where}: {len(row)} columns; {num_columns} are expected, with "
            f"{', '.join(map(str, places))} among them; correct or remove the row"
        )


def read_csv(
    path: Path, skipped: collections.Counter[str], *, columns: Columns
) -> Iterator[Example]:
    """Yields the examples of a comma-separated file with a header and quoted cells.

    Blank lines between rows are skipped and counted.
    Raises: UserError naming file and line.
    """
    list(read_lines(path))  # raises an error that names a line that is not UTF-8
    # A line may end within quotes, so the csv module finds the ends of rows.
    text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    rows = csv.reader(text, strict=True)
    try:
        header = next(rows, [])
        places = _find_columns(path, header, columns)
        blank = 0
        for row in rows:
            if not row:
                blank += 1
                continue
            if blank:
                skipped["blank lines"] += blank
                blank = 0
            where = f"{path}: line {rows.line_num}"
            _check_length(row, places, len(header), where)
            named = {column: row[place] for column, place in places.items()}
            example = columns.example(named, where, skipped)
            if example:
                yield example
    except csv.Error as error:
        raise UserError(
            f"{path}: line {rows.line_num}: {error}; comma-separated cells, quoted "
            "if necessary, are expected; correct the row"
        ) from None


def read_jsonl(
    path: Path, skipped: collections.Counter[str], *, columns: Columns
) -> Iterator[Example]:
    """Yields the examples of a file of JSON objects, one on each line.

    `columns` are the keys of an object.

    Raises: UserError naming file and line.
    """
    for number, line in read_lines(path):
        where = f"{path}: line {number}"
        row = parse_record(line, where)
        missing = [
            str(key)
            for key in columns.needed
            if not isinstance(row, dict) or not isinstance(row.get(key), str)
        ]
        if missing:
            raise UserError(
                f"{where}: no text under {', '.join(missing)}; a JSON object with the "
                f"keys {', '.join(map(str, columns.needed))} is expected; correct or "
                "remove the line"
            )
        example = columns.example(row, where, skipped)
        if example:
            yield example


def parse_record(text: str, where: str) -> Any:
    """Returns the JSON value of `text`.

    Raises: UserError naming `where`.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(
            f"{where}: {error}; JSON is expected; use the official file"
        ) from None
