r"""Lists the runs below a directory, and prunes the finished ones.

    python -m gpt1_jax.runs
    python -m gpt1_jax.runs runs/study --prune

The directory is `runs` if none is given. A row says which job and data a run has, how
many parameters, the steps of a finished run or how far another has come, the score of
its last evaluation (of the kept step, where it keeps the best), when it wrote last, and
its size on disk.
--prune drops the optimizer states of finished runs, about two thirds of a checkpoint,
after asking. Pruned models still generate, score and fine-tune, and can be exported;
only a resume for more steps needs the optimizer state. Runs that have not finished, are
damaged or in use are left alone.
"""

from pathlib import Path

from absl import flags

from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.errors import UserError
from gpt1_jax.reporting import listing
from gpt1_jax.reporting import runs as runs_lib
from gpt1_jax.workdirs import pruning

_FLAGS = flags.FlagValues()
_PRUNE = flags.DEFINE_bool(
    "prune", False, "Drop the optimizer states of finished runs.", flag_values=_FLAGS
)
_YES = flags.DEFINE_bool(
    "yes", False, "Prune without asking first.", flag_values=_FLAGS
)


def main(directories: list[str]) -> None:
    """Runs the command."""
    if _YES.value and not _PRUNE.value:
        raise UserError(
            "--yes is given without --prune; it answers the question that --prune "
            "asks; add --prune, or drop --yes"
        )
    paths = [Path(given) for given in directories or ["runs"]]
    runs, damaged, _ = runs_lib.read(paths)
    for one in damaged:
        terminal.warn(f"{one.path} is damaged: {one.why}")
    terminal.say(terminal.aligned(listing.rows(runs, damaged)))
    if _PRUNE.value:
        _prune([run.path for run in runs if run.job != "convert"])


def _prune(workdirs: list[Path]) -> None:
    """Drops the optimizer states of the finished runs among `workdirs`."""
    sizes = {path: pruning.droppable(path) for path in workdirs}
    chosen = [path for path, size in sizes.items() if size]
    if not chosen:
        terminal.say("no finished run has an optimizer state; nothing to prune")
        return
    listed = ", ".join(map(str, chosen))
    total = terminal.size(sum(sizes.values()))
    terminal.say(f"optimizer states of {len(chosen)} finished runs: {listed}")
    question = f"drop {total}? these runs cannot be resumed for more steps afterwards"
    if not _YES.value and not terminal.confirm(question):
        terminal.say("nothing was dropped")
        return
    freed = 0
    for path in chosen:
        try:
            freed += pruning.prune(path)
        except UserError as error:
            terminal.warn(str(error))
    terminal.say(f"dropped {terminal.size(freed)}")


if __name__ == "__main__":
    app.run(main, _FLAGS, positionals="[DIR]")
