"""Readers of tables: generators of `Example`s from csv, tsv, JSON Lines and parquet.

No reader knows a task; `layouts` has the format of each task's files. Readers neither
tokenize nor shuffle. They skip blank lines, and count every other row that they skip in
the argument `skipped`, by reason.
"""

import collections
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt1_jax.data import formats, tables
from gpt1_jax.data.tables import Column
from gpt1_jax.data.tasks.examples import Columns, Example, shortest_decimal
from gpt1_jax.errors import UserError
from gpt1_jax.terminal import counted

SHORT_ROW = "rows with too few columns"


def read_table(
    path: Path,
    skipped: collections.Counter[str],
    *,
    columns: Columns,
    kind: str,
    has_header: bool = True,
    skips_short: bool = False,
    ignores_more: bool = False,
) -> Iterator[Example]:
    """Yields the examples in the rows of a table.

    Args:
      columns: by name, whose case may differ, or by place from 0 without a header.
      kind: the format: csv, tsv, JSON Lines or parquet; or tables.QUOTED_TSV.
      ignores_more: a row without a header may have more columns than are needed.
      skips_short: rows that lack a needed column are skipped and counted (QQP has
        some); otherwise they are errors.
    Raises: UserError naming file and line.
    """
    num_columns = 0 if has_header else max(map(int, columns.needed)) + 1
    table = tables.open_table(
        path, kind, num_columns=num_columns, ignores_more=ignores_more
    )
    names = _find_columns(table, columns)
    for where, row in table.rows:
        texts = _texts(row, names, columns)
        if skips_short and len(texts) < len(names):
            skipped[SHORT_ROW] += 1
            continue
        _check_complete(where, row, texts, names, table)
        example = columns.example(texts, where, skipped)
        if example:
            yield example


read_tsv = functools.partial(read_table, kind=formats.TSV)
read_csv = functools.partial(read_table, kind=formats.CSV)
read_jsonl = functools.partial(read_table, kind=formats.JSONL)


def read_export(
    path: Path, skipped: collections.Counter[str], *, columns: Columns
) -> Iterator[Example]:
    """Yields the examples of a table whose name says its format.

    Raises: UserError naming file and line.
    """
    yield from read_table(
        path, skipped, columns=columns, kind=formats.detect(path).kind
    )


def read_with_rows(
    table: tables.Table, columns: Columns
) -> Iterator[tuple[str, Mapping[Any, Any], Example]]:
    """Yields place, row and example of each row of a table, without labels.

    Raises: UserError naming file and line.
    """
    names = _find_columns(table, columns)
    for where, row in table.rows:
        texts = _texts(row, names, columns)
        _check_complete(where, row, texts, names, table)
        example = columns.example(texts, where, collections.Counter())
        assert example  # it is None only for a missing label
        yield where, row, example


def _texts(
    row: Mapping[Any, Any], names: Mapping[Column, Column], columns: Columns
) -> dict[Column, Any]:
    """Returns the cells of a row that are what their column holds."""
    label = columns.labels.column if columns.labels else None
    texts: dict[Column, Any] = {}
    for column, name in names.items():
        cell = row.get(name)
        if columns.has_list and column in columns.parts:
            if isinstance(cell, list) and all(isinstance(x, str) for x in cell):
                texts[column] = tuple(cell)
        elif (text := _text(cell, is_label=column == label)) is not None:
            texts[column] = text
    return texts


def _check_complete(
    where: str,
    row: Mapping[Any, Any],
    texts: Mapping[Column, Any],
    names: Mapping[Column, Column],
    table: tables.Table,
) -> None:
    """Raises a UserError if a cell is missing, or is no text."""
    missing = [column for column in names if column not in texts]
    if not missing:
        return
    needed = ", ".join(map(str, names))
    if not table.are_objects:
        problem = (
            f"{counted(len(row), 'column')}; {len(table.columns)} are expected, with "
            f"{needed} among them"
        )
    else:
        listed = ", ".join(map(str, missing))
        problem = f"no text in {listed}; texts in {needed} are expected"
    raise UserError(f"{where}: {problem}; correct or remove the row")


def _text(cell: Any, *, is_label: bool) -> str | None:
    """Returns the text in a cell; a label may be a number; None: there is no text."""
    if isinstance(cell, str):
        return cell
    if not is_label or isinstance(cell, bool):
        return None
    if isinstance(cell, float):
        return str(shortest_decimal(cell))
    return str(cell) if isinstance(cell, int) else None


def _find_columns(table: tables.Table, columns: Columns) -> dict[Column, Column]:
    """Returns the table's own name of each column that is needed."""
    found = table.columns
    names = {column: tables.find_column(column, found) for column in columns.needed}
    missing = [str(column) for column, name in names.items() if name is None]
    label = columns.labels.column if columns.labels else None
    if missing == [label]:
        raise UserError(
            f"{table.where}: no labels: column {label} is missing among "
            f"{tables.listed(found)}; a labelled split is expected; use the split that "
            "has labels, or predict"
        )
    if missing:
        raise UserError(
            f"{table.where}: the columns are {tables.listed(found)}; "
            f"{', '.join(missing)} must be among them; correct their names"
        )
    return {column: name for column, name in names.items() if name is not None}
