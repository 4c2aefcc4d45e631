r"""Runs the job of a config: pre-training, fine-tuning, evaluation.

    python -m gpt1_jax.main --config experiments/pretrain.py
    python -m gpt1_jax.main --config experiments/pretrain.py:paper \
        --config.data.corpus='/data/books/*.txt'
    python -m gpt1_jax.main --config experiments/finetune.py:rte \
        --config.init.path=runs/pretrain

Words after the colon choose a variant; --config.GROUP.FIELD=VALUE overrides a field
(gpt1_jax/config.py lists them). The same command again resumes the run in its workdir.
"""

import contextlib
import importlib
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from gpt1_jax import command, config, starting_model
from gpt1_jax.exits import NotFound, UserError

_FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Experiment file, with :words if any.",
    lock_config=True,
    flag_values=_FLAGS,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    "",
    "Directory of the run; empty: runs/EXPERIMENT[-WORDS].",
    flag_values=_FLAGS,
)


def main() -> None:
    """Runs the command."""
    if not _FLAGS["config"].present:
        raise UserError(
            "--config is missing; name an experiment, as in --config "
            "experiments/pretrain.py"
        )
    file, words = _experiment()
    if not file.is_file():
        raise NotFound(
            f"no experiment file {file}; a Python file with get_config(words) is "
            "expected; check the path after --config"
        )
    run_config = config.from_mapping(_CONFIG.value)
    config.validate(run_config)
    if run_config.init.path != "none":
        overridden = config_flags.get_override_values(_FLAGS["config"])
        # A finished run may do without the model that it started from: jobs know.
        with contextlib.suppress(NotFound):
            starting_model.check_overrides(run_config, overridden)
    job = importlib.import_module(f"gpt1_jax.jobs.{run_config.job}")
    workdir = Path(_WORKDIR.value or _default_workdir(file, words))
    job.run(run_config, workdir.expanduser())


def _experiment() -> tuple[Path, str]:
    """The file and the words of --config FILE:words."""
    given = config_flags.get_config_filename(_FLAGS["config"])
    file, _, words = given.partition(":")
    return Path(file), words


def _default_workdir(file: Path, words: str) -> str:
    """runs/pretrain-paper for experiments/pretrain.py and the word paper."""
    given = [word.strip() for word in words.split(",") if word.strip()]
    return "-".join([f"runs/{file.stem}", *given])


if __name__ == "__main__":
    command.run(main, _FLAGS, is_resumable=True)
