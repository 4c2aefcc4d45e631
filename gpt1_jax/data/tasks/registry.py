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
)


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
    facts, task = _read_facts(path, name)
    if name not in TASKS:
        return task
    registered = json.loads(json.dumps(_facts(TASKS[name])))
    differing = [k for k in _FACTS if registered[k] != facts[k]]
    if differing:
        changes = "; ".join(f"{k}: {facts[k]} -> {registered[k]}" for k in differing)
        raise UserError(
            f"{workdir} was fine-tuned on another task {name!r}: {changes}; the row it "
            "was trained with is expected; restore it, or fine-tune anew"
        )
    return TASKS[name]


def _read_facts(path: Path, name: str) -> tuple[dict[str, Any], Task]:
    """Returns the facts of the task `name` in a file, and the task that they make.

    Raises: UserError: the file is damaged, or has the facts of another task.
    """
    try:
        facts = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or set(facts) != set(_FACTS):
            raise ValueError(f"not the facts {', '.join(_FACTS)}")
        values: dict[str, Any] = {
            fact: tuple(value) if isinstance(value, list) else value
            for fact, value in facts.items()
        }
        texts = [value for value in values.values() if isinstance(value, str)]
        lists = [value for value in values.values() if isinstance(value, tuple)]
        are_texts = all(isinstance(text, str) for value in lists for text in value)
        if len(texts) != 2 or len(texts) + len(lists) != len(_FACTS) or not are_texts:
            raise ValueError("values of other types")
        task = Task(**values, train="", dev={}, test={})
        validation.check_task(task)
        if task.name != name:
            raise ValueError(f"the facts of the task {task.name!r}")
    except ValueError as error:
        raise UserError(
            f"{path} is damaged: {error}; the facts of the task {name!r}, which the "
            "model was trained on, are expected; restore it, or fine-tune anew"
        ) from None
    return facts, task


def _facts(task: Task) -> dict[str, str | tuple[str, ...]]:
    """Returns the facts that a model of `task` needs for predictions."""
    return {fact: getattr(task, fact) for fact in _FACTS}
