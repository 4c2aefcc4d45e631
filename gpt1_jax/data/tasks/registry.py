"""The tasks by name: the official rows, and those of the user's own.

An experiment file registers the row of a user's own task and has the code of its
readers. The workdir of a fine-tuned model keeps the facts that predictions need.
"""

import json
from pathlib import Path
from typing import Any

from gpt1_jax.data.tasks import validation
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.errors import UserError, suggestion
from gpt1_jax.files import parse_json, write_atomically

_OFFICIAL = frozenset(TASKS)
_FILE = "task.json"
_FACTS = (
    "name",
    "kind",
    "classes",
    "metrics",
    "columns",
    "context_columns",
    "question_columns",
    "label_column",
    "answer_names",
    "scores",
)
# Facts that workdirs of earlier versions lack; they have the defaults of Task.
_LATER_FACTS = ("label_column", "answer_names", "scores")


def named(name: str) -> Task:
    """Returns the row of a task.

    Raises: UserError: no official or registered task has that name.
    """
    if name not in TASKS:
        others = "use one of these, or run the experiment file that registers it"
        hint = suggestion(name, TASKS, others)
        raise UserError(f"unknown task {name!r}; {', '.join(TASKS)}; {hint}")
    return TASKS[name]


def register(task: Task) -> None:
    """Adds `task` to TASKS, in this process.

    Raises: UserError: an official task has that name, or the row is invalid.
    """
    if task.name in _OFFICIAL:
        raise UserError(
            f"own task {task.name!r}; a name other than {', '.join(sorted(_OFFICIAL))} "
            "is expected; rename it"
        )
    validation.check_task(task)
    TASKS[task.name] = task


def save(task: Task, workdir: Path) -> None:
    """Writes the facts of an own task into its model's workdir."""
    if task.name not in _OFFICIAL:
        text = json.dumps(_facts(task), indent=1)
        write_atomically(workdir / _FILE, text + "\n")


def load(name: str, workdir: Path) -> Task:
    """Returns the task that the model in `workdir` was fine-tuned on.

    An own task that is not registered in this process is made from the facts in the
    workdir; it has no splits to read.
    Raises: UserError: the registered row differs from the model's; an unknown task; a
            damaged file of facts.
    """
    path = workdir / _FILE
    if not path.is_file():
        return named(name)
    task = _read_facts(path, name)
    if name not in TASKS:
        return task
    _check_same(task, TASKS[name], workdir)
    return TASKS[name]


def check(task: Task, workdir: Path) -> None:
    """Raises a UserError if the model in `workdir` was fine-tuned on another task."""
    path = workdir / _FILE
    if path.is_file():
        _check_same(_read_facts(path, task.name), task, workdir)


def _check_same(trained: Task, given: Task, workdir: Path) -> None:
    """Raises a UserError if the facts of two tasks of the same name differ."""
    old, new = (json.loads(json.dumps(_facts(task))) for task in (trained, given))
    differing = [name for name in _FACTS if old[name] != new[name]]
    if differing:
        changes = "; ".join(f"{name}: {old[name]} -> {new[name]}" for name in differing)
        raise UserError(
            f"{workdir} was fine-tuned on another task {given.name!r}: {changes}; the "
            "row it was trained with is expected; restore it, or fine-tune anew"
        )


def _read_facts(path: Path, name: str) -> Task:
    """Returns the task `name`, made from the facts in a file.

    Raises: UserError: the file is damaged, or has the facts of another task.
    """
    try:
        facts = parse_json(path.read_text(encoding="utf-8"))
        needed = set(_FACTS) - set(_LATER_FACTS)
        if not isinstance(facts, dict) or not needed <= set(facts) <= set(_FACTS):
            raise ValueError(f"not the facts {', '.join(_FACTS)}")
        if not all(_has_type_of(fact, value) for fact, value in facts.items()):
            raise ValueError("values of other types")
        values: dict[str, Any] = {
            fact: tuple(value) if isinstance(value, list) else value
            for fact, value in facts.items()
        }
        if values.get("label_column"):
            task = Task(**values, test={})
        else:
            task = Task(**values, train="", dev={}, test={})
        validation.check_task(task)
        if task.name != name:
            raise ValueError(f"the facts of the task {task.name!r}")
    except ValueError as error:
        raise UserError(
            f"{path} is damaged: {error}; the facts of the task {name!r}, which the "
            "model was trained on, are expected; restore it, or fine-tune anew"
        ) from None
    return task


def _has_type_of(fact: str, value: Any) -> bool:
    """Returns whether a value from a file has the type of a fact."""
    if fact in ("name", "kind", "label_column"):
        return isinstance(value, str)
    element = int | float if fact == "scores" else str
    is_list = isinstance(value, list) and all(isinstance(x, element) for x in value)
    return is_list and (fact != "scores" or len(value) == 2)


def _facts(task: Task) -> dict[str, Any]:
    """Returns the facts that a model of `task` needs for predictions."""
    return {fact: getattr(task, fact) for fact in _FACTS}
