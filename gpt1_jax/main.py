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
from pathlib import Path

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app, experiment

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
    job.run(config, files.expand(workdir))


if __name__ == "__main__":
    app.run(main, _FLAGS, is_resumable=True)
