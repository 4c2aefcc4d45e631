"""Readers of tables: generators of `Example`s from csv, tsv, JSON Lines and parquet.

No reader knows a task; `layouts` has the format of each task's files. Readers neither
tokenize nor shuffle. They skip blank lines, and count every other row that they skip in
the argument `skipped`, by reason.
"""

import collections
import functools
from collections.abc import Iterator
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
    label = columns.labels.column if columns.labels else None
    for where, row in table.rows:
        texts = {}
        for column, name in names.items():
            text = _text(row.get(name), is_label=column == label)
            if text is not None:
                texts[column] = text
        if missing := [column for column in names if column not in texts]:
            if skips_short:
                skipped[SHORT_ROW] += 1
                continue
            listed, needed = ", ".join(map(str, missing)), ", ".join(map(str, names))
            if kind not in (formats.JSONL, formats.PARQUET):
                problem = (
                    f"{counted(len(row), 'column')}; {len(table.columns)} are "
                    f"expected, with {needed} among them"
                )
            else:
                problem = f"no text in {listed}; texts in {needed} are expected"
            raise UserError(f"{where}: {problem}; correct or remove the row")
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
