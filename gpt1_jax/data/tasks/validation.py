"""Checks of a task's row and of its examples, before any training.

Readers check the format of a file; this module checks the content against the row.
"""

import numbers
from collections.abc import Iterable, Mapping

from gpt1_jax.data.tasks.examples import Columns, Example
from gpt1_jax.data.tasks.task import KINDS, METRICS, Task
from gpt1_jax.errors import UserError

# The number of texts in an example; a choice has one for each answer.
_NUM_PARTS = {"single": 1, "pair": 2, "similarity": 2}


def check_task(task: Task) -> None:
    """Checks a row without reading its files.

    Raises: UserError naming the task and the first contradiction in its row.
    """
    if task.kind not in KINDS:
        raise UserError(
            f"task {task.name!r}: kind={task.kind!r}; {'|'.join(KINDS)}; use one of "
            "these"
        )
    unknown = set(task.metrics) - set(METRICS)
    if isinstance(task.metrics, str) or unknown or not task.metrics:
        raise UserError(
            f"task {task.name!r}: metrics={task.metrics!r}; a tuple of names among "
            f"{', '.join(METRICS)} is expected; correct it, as in metrics=('accuracy',)"
        )
    used = {*filter(None, [task.train]), *task.dev.values(), *task.test.values()}
    missing = () if task.label_column else sorted(used - set(task.files))
    if missing:
        raise UserError(
            f"task {task.name!r}: no files of {', '.join(missing)}; each split that "
            "train, dev and test name needs files; add them, or leave the split out, "
            "as with test={}"
        )
    num_parts = _NUM_PARTS.get(task.kind, len(task.columns))
    if task.columns and len(task.columns) != num_parts:
        raise UserError(
            f"task {task.name!r}: columns={task.columns}; kind {task.kind} has "
            f"{num_parts}, one for each part; correct columns or kind"
        )
    if task.classes and (
        task.kind == "choice"
        or len(task.classes) < 2
        or len(set(task.classes)) < len(task.classes)
    ):
        allowed = "none for a choice" if task.kind == "choice" else "two or more names"
        raise UserError(
            f"task {task.name!r}: classes={task.classes}; {allowed}, each once; "
            "correct classes or kind"
        )
    for files in task.files.values():
        for file in files:
            columns = getattr(file.read, "keywords", {}).get("columns")
            if isinstance(columns, Columns) and columns.labels and task.classes:
                _check_label_names(task, columns.labels.classes)


def _check_label_names(task: Task, index_of: Mapping[str, int]) -> None:
    """Raises UserError if a file's labels contradict the order of the classes."""
    allowed = ", ".join(f"{name}: {n}" for n, name in enumerate(task.classes))
    if not index_of:
        raise UserError(
            f"task {task.name!r}: the labels of its files are scores; its classes are "
            f"{', '.join(task.classes)}; give Labels the index of each, as {allowed}"
        )
    for name, index in index_of.items():
        if index not in range(len(task.classes)) or (
            name in task.classes and task.classes[index] != name
        ):
            raise UserError(
                f"task {task.name!r}: Labels gives {name!r} the index {index}; the "
                f"classes are {allowed}; give both the same order"
            )


def check_examples(task: Task, examples: Iterable[Example], origin: str) -> None:
    """Checks the parts and labels of examples.

    Raises: UserError naming `origin` and the number of the first invalid example.
    """
    num_choices = 0
    for number, example in enumerate(examples):
        where = f"{origin}, example {number}"
        check_parts(task, example, where, num_choices)
        num_choices = len(example.parts)
        if example.label is not None:
            _check_label(task, example, where)


def check_parts(task: Task, example: Example, where: str, num_choices: int) -> None:
    """Checks how many texts an example has.

    Args:   num_choices: the answers of the example before it; 0: it is the first.
    Raises: UserError naming `where`.
    """
    found = len(example.parts)
    expected = _NUM_PARTS.get(task.kind, num_choices)
    if task.kind == "choice" and not num_choices:
        if found < 2:
            raise UserError(
                f"{where}: {found} choices; at least 2 are expected; correct the "
                "example"
            )
    elif found != expected:
        noun = "choices" if task.kind == "choice" else "parts"
        raise UserError(
            f"{where}: {found} {noun}; {expected} are expected, the same number in "
            "every example; correct the example"
        )


def _check_label(task: Task, example: Example, where: str) -> None:
    """Raises UserError for a label that is not a class, choice or score of the task."""
    label = example.label
    if task.classes or task.kind == "choice":
        count = len(task.classes or example.parts)
        is_valid = isinstance(label, numbers.Integral) and 0 <= label < count
        allowed = f"an integer from 0 to {count - 1}"
    else:
        low, high = task.scores
        is_valid = isinstance(label, numbers.Real) and low <= label <= high
        allowed = f"a number from {low:g} to {high:g}"
    if not is_valid:
        raise UserError(
            f"{where}: label {label!r}; {allowed} is expected; correct the label, or "
            "the classes of the task"
        )
