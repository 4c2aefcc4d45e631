"""Tasks of the user's own: rows that an experiment file adds, and their models' facts.

The code of a row's readers stays in the user's file; what a model needs to be loaded
and asked without it lies in the workdir, as facts.
"""

import json
from pathlib import Path
from typing import Any

from gpt1_jax.data.tasks import loading
from gpt1_jax.data.tasks.rows import KINDS, TASKS, Task
from gpt1_jax.errors import UserError
from gpt1_jax.files import write_atomically

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


def register(task: Task) -> None:
    """Makes `task` one of TASKS, in this process.

    Raises: UserError: an official task has that name, or the row can't be of use.
    """
    if task.name in _OFFICIAL:
        raise UserError(
            f"own task {task.name!r}; a name other than {', '.join(sorted(_OFFICIAL))} "
            "is expected; rename it"
        )
    if task.kind not in KINDS:
        raise UserError(
            f"own task {task.name!r}: kind={task.kind!r}; {'|'.join(KINDS)}; use one "
            "of these"
        )
    used = {*filter(None, [task.train]), *task.dev.values(), *task.test.values()}
    if missing := sorted(used - set(task.files)):
        raise UserError(
            f"own task {task.name!r}: no files of {', '.join(missing)}; each split "
            "that train, dev and test name needs some; add them, or leave the split "
            "out, as by test={}"
        )
    TASKS[task.name] = task


def save(task: Task, workdir: Path) -> None:
    """Writes the facts of a task that is no official one into its model's workdir."""
    if task.name not in _OFFICIAL:
        text = json.dumps(_facts(task), indent=1)
        write_atomically(workdir / _FILE, text + "\n")


def load(name: str, workdir: Path) -> Task:
    """The task that the model in `workdir` was fine-tuned on.

    An own task that no experiment file has registered here is known by its facts: it
    has no splits to read.
    Raises: UserError: the row here differs from the model's; an unknown task.
    """
    path = workdir / _FILE
    if not path.is_file():
        return loading.named(name)
    facts = json.loads(path.read_text(encoding="utf-8"))
    if name not in TASKS:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()
        }
        return Task(**values, train="", dev={}, test={})
    here = json.loads(json.dumps(_facts(TASKS[name])))
    differing = [k for k in _FACTS if here[k] != facts[k]]
    if differing:
        changes = "; ".join(f"{k}: {facts[k]} -> {here[k]}" for k in differing)
        raise UserError(
            f"{workdir} was fine-tuned on another task {name!r}: {changes}; the row it "
            "was trained with is expected; restore it, or fine-tune anew"
        )
    return TASKS[name]


def _facts(task: Task) -> dict[str, str | tuple[str, ...]]:
    """What a model of `task` needs to be asked."""
    return {fact: getattr(task, fact) for fact in _FACTS}
