"""The steps of a checkpoints directory, and which of them are intact."""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from gpt1_jax import terminal
from gpt1_jax.errors import RunFailed
from gpt1_jax.workdirs import checksums

DAMAGED_SUFFIX = ".damaged"


def steps_in(directory: Path) -> list[int]:
    """Returns the steps of `directory` that were saved completely, in order."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if _is_step(path))


def _is_step(path: Path) -> bool:
    name = path.name
    is_number = name.isascii() and name.isdigit() and name == str(int(name))
    return is_number and path.is_dir()


def good_step(
    directory: Path, candidates: Iterable[int], items: Collection[str] = ()
) -> int | None:
    """Returns the first of `candidates` that is intact; None if there are none.

    It warns of each damaged step before that.
    Args:   items: the parts that must be intact; empty: all.
    Raises: RunFailed: all candidates are damaged.
    """
    problems: dict[int, str] = {}
    for step in candidates:
        if found := checksums.problem(directory / str(step), items):
            problems[step] = found
            continue
        for bad, found in problems.items():
            terminal.warn(
                f"{directory / str(bad)} is damaged: {found}; step {step:,} is used "
                "instead"
            )
        return step
    if problems:
        listed = "; ".join(f"step {step}: {found}" for step, found in problems.items())
        raise RunFailed(
            f"no good checkpoint in {directory}: {listed}; nothing was changed there; "
            "restore an intact copy, or delete the directory and start again"
        )
    return None


def good_steps(
    directory: Path, candidates: Iterable[int], items: Collection[str] = ()
) -> list[int]:
    """Returns the intact steps of `candidates`, and warns of the others.

    Raises: RunFailed: all candidates are damaged.
    """
    found = {
        step: checksums.problem(directory / str(step), items) for step in candidates
    }
    good = [step for step, problem in found.items() if not problem]
    if not good:
        good_step(directory, found, items)
    for step, problem in found.items():
        if problem:
            terminal.warn(
                f"{directory / str(step)} is damaged: {problem}; it is left out"
            )
    return good


def rename_damaged(directory: Path) -> None:
    """Renames damaged steps, so that the run can save them again.

    These are the steps after the newest good one, and those whose score is damaged.
    Raises: RunFailed: there are steps, but none is good; nothing is renamed.
    """
    steps = steps_in(directory)
    newest = good_step(directory, reversed(steps))
    if newest is None:
        return
    for step in steps:
        path = directory / str(step)
        if step > newest or checksums.problem(path, ("metrics",)):
            renamed = directory / f"{step}{DAMAGED_SUFFIX}"
            shutil.rmtree(renamed, ignore_errors=True)
            path.rename(renamed)
