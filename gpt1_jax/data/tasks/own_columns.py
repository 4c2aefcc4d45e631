"""Infers the task of a table of the user's own labels from its columns and cells.

It opens no file: `own_files` does. What the user names is taken; the rest is inferred
from the names of columns first, then from their cells.
"""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax.config import DataConfig
from gpt1_jax.data import tables
from gpt1_jax.data.tasks import own_choices
from gpt1_jax.data.tasks.own_sheet import Sheet, label_text, named, parse_number
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.errors import UserError

# The fields of config.data by which the user corrects what is inferred.
FIELDS = ("label_column", "text_columns", "answer_columns", "label_kind")

# The usual names, the surest first; case does not matter.
_CLASS_NAMES = ("label", "labels", "class", "category", "target", "gold_label", "gold")
_CHOICE_NAMES = ("answer", "answerkey", "answer_key", "correct", "correct_answer")
_TOPIC_NAMES = ("sentiment", "emotion", "topic", "intent")
# Columns whose whole numbers are a scale; in any other they are classes.
_SCORE_NAMES = ("score", "rating", "stars", "similarity", "relatedness")
_LABEL_NAMES = (*_CLASS_NAMES, *_CHOICE_NAMES, *_TOPIC_NAMES, *_SCORE_NAMES)
_USUAL_TEXTS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("text",),
    ("sentence",),
)
_MOST_CLASSES_NAMED = 20
# From here on, labels that all differ are no classes.
_MOST_SINGLE = 20


def infer(name: str, sheet: Sheet, config: DataConfig) -> tuple[Task, str]:
    """Returns the task of a table with labels, and a line that describes it.

    Raises: UserError: a column that is not there, or nothing to infer the task from.
    """
    answers = own_choices.answer_columns(sheet, config)
    label = _label_column(sheet, config, answers)
    labels = {where: text for where, text in _labels(sheet, label) if text}
    if not labels:
        raise UserError(
            f"{sheet.where}: column {label} has no label; one in each row is expected; "
            "add them, or name another with --config.data.label_column"
        )
    kind = _label_kind(config, label, labels, has_answers=bool(answers))
    is_choice = kind == "choice"
    taken = (label, *answers) if is_choice else (label,)
    texts = _text_columns(sheet, config, taken, is_choice=is_choice)
    counts = collections.Counter(labels.values())
    _check_counts(sheet, label, kind, counts)
    shared: dict[str, Any] = {"name": name, "label_column": label, "test": {}}
    if is_choice:
        task = own_choices.make_task(sheet, answers, texts, labels, shared)
    elif len(texts) not in (1, 2):
        raise _unclear_texts(sheet, texts)
    elif kind == "number":
        numbers = [float(text) for text in labels.values()]
        task = Task(
            **shared,
            kind="similarity" if len(texts) == 2 else "single",
            metrics=("pearson", "spearman"),
            columns=texts,
            scores=(min(numbers), max(numbers)),
        )
    else:
        task = Task(
            **shared,
            kind="pair" if len(texts) == 2 else "single",
            classes=tuple(sorted(counts, key=_class_order)),
            metrics=("accuracy", "f1") if len(counts) == 2 else ("accuracy",),
            columns=texts,
        )
    return task, _describe(task, sheet, counts)


def _check_counts(
    sheet: Sheet, column: str, kind: str, counts: Mapping[str, int]
) -> None:
    """Raises a UserError if all labels are the same, or many classes and none twice."""
    problem = ""
    if len(counts) == 1:
        problem = f"every label in column {column} is {next(iter(counts))!r}; two or"
        problem += " more are expected"
    elif kind == "class" and len(counts) == sum(counts.values()) > _MOST_SINGLE:
        problem = f"all {len(counts):,} labels in column {column} differ; classes that"
        problem += " occur several times are expected"
    if problem:
        raise UserError(
            f"{sheet.where}: {problem}; name another column with "
            "--config.data.label_column"
        )


def _labels(sheet: Sheet, column: str) -> list[tuple[str, str]]:
    """Returns the place and the text of each label; raises for a list or an object."""
    found = []
    for where, row in sheet.rows:
        cell = row.get(column)
        if isinstance(cell, list | dict):
            raise UserError(
                f"{where}: {cell!r} in column {column}; a name or a number is expected "
                "as a label; name another with --config.data.label_column"
            )
        found.append((where, label_text(cell)))
    return found


def _label_column(sheet: Sheet, config: DataConfig, answers: Sequence[str]) -> str:
    """Returns the column of the labels: named, of a usual name, or of few values."""
    if given := named(sheet, "label_column", [config.label_column]):
        return given[0]
    texts = named(sheet, "text_columns", config.text_columns.split(","))
    free = [name for name in sheet.columns if name not in (*answers, *texts)]
    for name in _LABEL_NAMES:
        column = tables.find_column(name, free)
        if column is not None:
            return str(column)
    repeated = [name for name in free if _repeats(sheet.cells(name))]
    if len(repeated) == 1:
        return repeated[0]
    problem = "no column looks like labels"
    if repeated:
        problem = f"{' and '.join(repeated)} may be the labels"
    raise UserError(
        f"{sheet.where}: {problem}; its columns are {tables.listed(sheet.columns)}; "
        "name the one of the labels with --config.data.label_column"
    )


def _repeats(cells: Sequence[Any]) -> bool:
    """Returns whether cells are a few short values, as the names of classes are."""
    if any(isinstance(cell, list | dict) for cell in cells):
        return False
    counts = collections.Counter(filter(None, map(label_text, cells)))
    return 2 <= len(counts) <= max(2, len(cells) // 4) and max(map(len, counts)) <= 40


def _label_kind(
    config: DataConfig, column: str, labels: Mapping[str, str], *, has_answers: bool
) -> str:
    """Returns class, number or choice, as the user says or as the labels look.

    Raises: UserError: some labels are numbers, others are not.
    """
    if config.label_kind != "auto":
        kind = config.label_kind
    elif has_answers:
        kind = "choice"
    else:
        numbers = [parse_number(text) for text in labels.values()]
        are_mostly = 2 * sum(map(math.isfinite, numbers)) > len(numbers)
        is_scale = column.lower() in _SCORE_NAMES or not all(
            x.is_integer() for x in numbers if math.isfinite(x)
        )
        odd = [
            where for where, text in labels.items() if math.isnan(parse_number(text))
        ]
        if are_mostly and odd:
            raise _mixed(column, odd[0], labels[odd[0]])
        kind = "number" if are_mostly and is_scale else "class"
    if kind == "number":
        for where, text in labels.items():
            if math.isnan(parse_number(text)):
                raise _mixed(column, where, text)
    return kind


def _mixed(column: str, where: str, text: str) -> UserError:
    return UserError(
        f"{where}: label {text!r} in column {column} is no number, and others are; "
        "numbers only or names only are expected; correct it, or set "
        "--config.data.label_kind=class"
    )


def _text_columns(
    sheet: Sheet, config: DataConfig, taken: Sequence[str], *, is_choice: bool
) -> tuple[str, ...]:
    """Returns the columns of texts: named, a usual pair, `text`, or what reads so.

    Args: taken: the columns of labels and answers.
    """
    given = named(sheet, "text_columns", config.text_columns.split(","))
    for column in given:
        if column in taken:
            raise UserError(
                f"config.data.text_columns={config.text_columns}: {column} is a column "
                "of labels or answers; another is expected; name another"
            )
        _check_texts(sheet, column)
    if given:
        return given
    free = [column for column in sheet.columns if column not in taken]
    for usual in () if is_choice else _USUAL_TEXTS:
        found = [tables.find_column(name, free) for name in usual]
        if None not in found:
            texts = tuple(map(str, found))
            for column in texts:
                _check_texts(sheet, column)
            return texts
    return tuple(column for column in free if _reads_as_text(sheet.cells(column)))


def _check_texts(sheet: Sheet, column: str) -> None:
    """Raises a UserError if a column of texts holds numbers only."""
    cells = sheet.cells(column)
    if all(not math.isnan(parse_number(label_text(cell))) for cell in cells):
        raise UserError(
            f"{sheet.where}: column {column} holds only numbers; texts are expected; "
            "name another with --config.data.text_columns"
        )


def _reads_as_text(cells: Sequence[Any]) -> bool:
    """Returns whether most cells are texts of several words."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    return 2 * sum(" " in text.strip() for text in texts) > len(cells)


def _unclear_texts(sheet: Sheet, found: Sequence[str]) -> UserError:
    problem = f"{', '.join(found) or 'no column'} could be texts"
    return UserError(
        f"{sheet.where}: {problem}; one or two columns of texts are expected, among "
        f"{tables.listed(sheet.columns)}; name them with --config.data.text_columns"
    )


def _class_order(name: str) -> tuple[float, str]:
    """Sorts numbers by value, before names in the order of the alphabet."""
    number = parse_number(name)
    return (math.inf if math.isnan(number) else number), name


def _describe(task: Task, sheet: Sheet, counts: Mapping[str, int]) -> str:
    """Returns a line that says how the table is read."""
    before = (*task.context_columns, *task.question_columns)
    if task.kind == "choice":
        parts = [f"answers in {', '.join(task.columns)}"]
        parts += [f"texts before them in {', '.join(before)}"] if before else []
    else:
        parts = [f"texts in {', '.join(task.columns)}"]
    if task.is_graded:
        low, high = task.scores
        parts.append(f"label in {task.label_column}: numbers from {low:g} to {high:g}")
    else:
        names = task.classes or task.answer_names
        shown = [f"{name} {counts.get(name, 0):,}" for name in names]
        if len(shown) > _MOST_CLASSES_NAMED:
            more = len(shown) - _MOST_CLASSES_NAMED
            shown = [*shown[:_MOST_CLASSES_NAMED], f"and {more} more"]
        parts.append(f"label in {task.label_column}: {', '.join(shown)}")
    parts.append(f"kind {task.kind}, metric {', '.join(task.metrics)}")
    return f"{sheet.where}: {'; '.join(parts)}"
