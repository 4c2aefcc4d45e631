"""Loading of the splits of tasks, from files or from TFDS.

A task's row has all that is specific to it. The result is text; `records` encodes it.
"""

import collections
import itertools
from pathlib import Path

from gpt1_jax import files, terminal
from gpt1_jax.config import SOURCES
from gpt1_jax.data.tasks import paths, tfds, validation
from gpt1_jax.data.tasks.examples import Split
from gpt1_jax.data.tasks.task import File, Task
from gpt1_jax.errors import NotFound, UserError


def load(
    task: Task,
    split: str,
    *,
    task_dir: Path,
    source: str = "files",
    tfds_dir: str = "",
    check_counts: bool = True,
) -> Split:
    """Returns the examples of a split, in the order of its files.

    Args:
      task_dir: the root of the official folders (CoLA, snli_1.0, RACE ...).
      source: files, or tfds: what the user prepared in `tfds_dir`.
      check_counts: adds a note if the number of examples is not the official one.
    Raises: UserError, NotFound: a missing or damaged file, an invalid example.
    """
    if source not in SOURCES:
        raise UserError(
            f"config.data.source={source!r}; {'|'.join(SOURCES)}; use one of these"
        )
    known = task.files if source == "files" else task.tfds.splits
    if split not in known:
        raise UserError(
            f"split {split!r} of {task.name}; {', '.join(known)}; name one of these"
        )
    skipped: collections.Counter[str] = collections.Counter()
    notes = []
    if source == "files":
        found, file = _find(task, split, files.expand(task_dir))
        path = found[0]
        examples = tuple(
            itertools.chain.from_iterable(file.read(p, skipped) for p in found)
        )
        notes += [f"{path}: {file.note}"] if file.note else []
    else:
        path = files.expand(tfds_dir)
        examples = tuple(
            tfds.read(task.tfds, split, tfds_dir, classes=task.classes, skipped=skipped)
        )
        if split in task.tfds.released:
            notes.append(task.tfds.released_note)
    if not examples:
        raise UserError(
            f"{path} holds no example for split {split} of {task.name}; at least one "
            "is expected; check the file, or copy it again"
        )
    origin = f"task {task.name!r}, split {split}"
    validation.check_examples(task, examples, origin)
    notes += [f"{path}: skipped {reason}: {n:,}" for reason, n in skipped.items()]
    official = task.num_examples.get(split, len(examples))
    if check_counts and official != len(examples):
        count = terminal.counted(len(examples), "example")
        notes.append(
            f"{task.name}, split {split}: {count}; the official data has {official:,}"
        )
    return Split(examples, tuple(notes))


def exists(
    task: Task, split: str, *, task_dir: Path, source: str, tfds_dir: str
) -> bool:
    """Returns whether `load` would find files, or prepared data, of a split."""
    if source == "files":
        files = task.files.get(split, ())
        return any(paths.find(task_dir, file.pattern) for file in files)
    names = task.tfds.splits.get(split, ())
    return bool(names) and all(tfds.has(name, tfds_dir) for name in names)


def _find(task: Task, split: str, task_dir: Path) -> tuple[list[Path], File]:
    """Returns the first file of a split that exists: its path, or all of its shards."""
    if not task_dir.is_dir():
        raise NotFound(
            f"{task_dir} is not a directory; the one with the folders of the tasks is "
            "expected; set it with --config.data.task_dir=DIR"
        )
    for file in task.files[split]:
        found = paths.find(task_dir, file.pattern)
        if len(found) > 1 and not paths.are_shards(found):
            names = ", ".join(str(path.relative_to(task_dir)) for path in found)
            raise UserError(
                f"{task_dir}: {len(found)} files match {file.pattern}: {names}; one is "
                "expected; move the others away"
            )
        if found:
            return found, file
    patterns = [file.pattern for file in task.files[split]]
    # Exports have patterns of many alternatives; docs/data.md describes them.
    named = " or ".join([name for name in patterns if "{" not in name] or patterns)
    remedy = "check --config.data.task_dir and the folder's name"
    parent = task_dir.resolve().parent
    if any(paths.find(parent, file.pattern) for file in task.files[split]):
        remedy = f"use --config.data.task_dir={parent}"
    raise NotFound(
        f"{task_dir} has no file for split {split} of {task.name}; {named} is "
        f"expected there; {remedy}"
    )
