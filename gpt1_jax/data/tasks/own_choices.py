"""Infers the answers of a choice from the columns of a table, and their names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax.config import DataConfig
from gpt1_jax.data import tables
from gpt1_jax.data.tasks.own_sheet import Sheet, named
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.errors import UserError

_QUESTION = "question"
_ANSWER = re.compile(r"(.*?)[ _]?(\d+|[a-z])", re.IGNORECASE)
_ANSWER_STEMS = ("answer", "choice", "option", "ending", "alternative", "sol")
_LETTERS = tuple("ABCDEFGH")  # columns of answers, as in RACE
_MOST_LABELS_NAMED = 20


def answer_columns(sheet: Sheet, config: DataConfig) -> tuple[str, ...]:
    """Returns the columns of the answers of a choice, or () if it is none."""
    if config.label_kind not in ("auto", "choice"):
        return ()
    if given := named(sheet, "answer_columns", config.answer_columns.split(",")):
        return given
    for column in sheet.columns:
        if _is_list(sheet.rows[0][1].get(column)):
            return (column,)
    by_stem: dict[str, list[str]] = {}
    for column in sheet.columns:
        match = _ANSWER.fullmatch(column)
        if match and (match[1].lower() in _ANSWER_STEMS or column in _LETTERS):
            by_stem.setdefault(match[1].lower(), []).append(column)
    groups = [tuple(group) for group in by_stem.values() if len(group) > 1]
    if config.label_kind == "choice" and not groups:
        raise UserError(
            f"config.data.label_kind=choice, but {sheet.where} has no columns of "
            f"answers, such as answer1 and answer2, among "
            f"{tables.listed(sheet.columns)}; name them with "
            "--config.data.answer_columns"
        )
    return groups[0] if groups else ()


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(text, str) for text in cell)


def make_task(
    sheet: Sheet,
    answers: tuple[str, ...],
    texts: tuple[str, ...],
    labels: Mapping[str, str],
    shared: Mapping[str, Any],
) -> Task:
    """Returns the task of choosing an answer."""
    count = len(answers)
    if count == 1:
        lengths = {where: row.get(answers[0]) for where, row in sheet.rows}
        count = _check_lists(answers[0], lengths)
    questions = tuple(name for name in texts if name.lower() == _QUESTION)
    return Task(
        **shared,
        kind="choice",
        metrics=("accuracy",),
        columns=answers,
        context_columns=tuple(name for name in texts if name not in questions),
        question_columns=questions,
        answer_names=_answer_names(sheet, answers, labels, count),
    )


def _check_lists(column: str, cells: Mapping[str, Any]) -> int:
    """Returns the number of answers in each row of a column of lists."""
    count = 0
    for where, cell in cells.items():
        if not _is_list(cell):
            raise UserError(
                f"{where}: {cell!r} in column {column}; a list of texts is expected; "
                "correct or remove the row"
            )
        count = count or len(cell)
        if len(cell) != count or count < 2:
            expected = count if count > 1 else "at least 2"
            raise UserError(
                f"{where}: {len(cell)} answers in column {column}; {expected} are "
                "expected, the same number in each row; correct or remove the row"
            )
    return count


def _answer_names(
    sheet: Sheet, answers: Sequence[str], labels: Mapping[str, str], count: int
) -> tuple[str, ...]:
    """Returns the name of each answer in the labels: a number, a letter or a column."""
    counted_from = [tuple(str(n + first) for n in range(count)) for first in (0, 1)]
    letters = [tuple(chr(ord(a) + n) for n in range(count)) for a in "Aa"]
    used = set(labels.values())
    fitting = [
        names
        for names in dict.fromkeys((*counted_from, *letters, tuple(answers)))
        if used <= set(names)
    ]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join(sorted(used)[:_MOST_LABELS_NAMED])
    if fitting:
        problem = f"the labels {shown} may count from 0 or from 1"
        remedy = "write letters, or add a row with the first or the last answer"
    else:
        problem = f"the labels are {shown}"
        remedy = "correct them, or set --config.data.label_kind=class"
    raise UserError(
        f"{sheet.where}: {problem}; numbers from 0 or 1, or letters from A, of the "
        f"{count} answers are expected; {remedy}"
    )
