r"""Runs the job of a config: pre-training, fine-tuning, evaluation, zero-shot.

    python -m gpt1_jax.main --config experiments/pretrain.py
    python -m gpt1_jax.main --config experiments/pretrain.py:paper \
        --config.data.corpus='/data/books/*.txt'
    python -m gpt1_jax.main --config experiments/finetune.py:rte \
        --config.init.path=runs/pretrain

Words after the colon choose a variant; --config.GROUP.FIELD=VALUE overrides a field.
--show_config lists the fields. Running the same command again resumes the run.
"""

import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.errors import OtherRun

_FLAGS = experiment.ExperimentFlags()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    "",
    "Directory of the run; empty: runs/EXPERIMENT[-WORDS].",
    flag_values=_FLAGS,
)
_SHOW_CONFIG = flags.DEFINE_bool(
    "show_config",
    False,
    "List all fields with value, meaning and source.",
    flag_values=_FLAGS,
)


def main() -> None:
    """Runs the command."""
    config = experiment.resolve(_FLAGS)
    if _SHOW_CONFIG.value:
        terminal.say(experiment.describe(config, _FLAGS))
        return
    job = importlib.import_module(f"gpt1_jax.jobs.{config.job}")
    workdir = Path(_WORKDIR.value or experiment.default_workdir(_FLAGS))
    try:
        job.run(config, files.expand(workdir))
    except OtherRun as error:
        command = _command_elsewhere(workdir, error.arguments)
        raise OtherRun(f"{error}, as in: {command}") from None


def _command_elsewhere(workdir: Path, more: Sequence[str]) -> str:
    """Returns this command with `more` arguments and a --workdir that is free."""
    from gpt1_jax.workdirs import workdir as workdir_lib  # JAX is slow to import

    free = str(workdir_lib.free_beside(files.expand(workdir)))
    arguments = []
    given = iter(sys.argv[1:])
    for argument in given:
        name = argument.lstrip("-")
        if argument.startswith("-") and name == "workdir":
            next(given)  # its value
        elif not (argument.startswith("-") and name.startswith("workdir=")):
            arguments.append(argument)
    command = ["python", "-m", "gpt1_jax.main", *arguments, *more, "--workdir", free]
    return shlex.join(command)


if __name__ == "__main__":
    app.run(main, _FLAGS, is_resumable=True)
