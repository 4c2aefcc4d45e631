"""Drops the optimizer states of finished runs, which only a resume needs.

The parameters stay, with checksums of their own: a pruned checkpoint is intact, and can
be loaded, exported and trained from.
"""

import shutil
from pathlib import Path

from gpt1_jax.workdirs import checksums, intact
from gpt1_jax.workdirs import workdir as workdir_lib
from gpt1_jax.workdirs.checkpoint import MODEL_ITEMS

_ITEM = "rest"  # see checkpoint


def disk(directory: Path) -> int:
    """Returns the bytes of all files below `directory`."""
    return sum(x.lstat().st_size for x in directory.rglob("*") if x.is_file())


def droppable(workdir: Path) -> int:
    """Returns the bytes of the optimizer states in `workdir`; 0 unless it is finished.

    Checkpoints that are not intact are left alone.
    """
    return sum(disk(path / _ITEM) for path in _unpruned(workdir))


def _unpruned(workdir: Path) -> list[Path]:
    """Returns the intact checkpoints of a finished run that have optimizer states."""
    if not workdir_lib.is_finished(workdir):
        return []
    directory = workdir / workdir_lib.CHECKPOINTS_DIR
    paths = [directory / str(step) for step in intact.steps_in(directory)]
    return [
        path
        for path in paths
        if (path / _ITEM).is_dir() and not checksums.problem(path, MODEL_ITEMS)
    ]


def prune(workdir: Path) -> int:
    """Drops the optimizer states of a finished run; returns how many bytes.

    A kill leaves each checkpoint intact: its manifest stops naming the files before
    they are deleted.
    Raises: UserError: another process uses the workdir.
    """
    with workdir_lib.lock(workdir):
        freed = 0
        for path in _unpruned(workdir):  # again: another run may have begun meanwhile
            freed += disk(path / _ITEM)
            checksums.remove(path, _ITEM)
            shutil.rmtree(path / _ITEM)
        return freed
