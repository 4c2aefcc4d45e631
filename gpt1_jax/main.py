r"""Runs the job of a config: pre-training.

    python -m gpt1_jax.main --config experiments/pretrain.py
    python -m gpt1_jax.main --config experiments/pretrain.py:paper \
        --config.data.corpus='/data/books/*.txt'

Words after the colon choose a variant; --config.GROUP.FIELD=VALUE overrides a field
(gpt1_jax/config.py lists them). The same command again resumes the run in its workdir.
"""

import importlib
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from gpt1_jax import command, config

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file, with :words if any.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Directory of the run; empty: runs/EXPERIMENT[-WORDS]."
)


def main() -> None:
    """Runs the command."""
    if not flags.FLAGS["config"].present:
        raise ValueError(
            "--config is missing; name an experiment, as in --config "
            "experiments/pretrain.py"
        )
    run_config = config.from_mapping(_CONFIG.value)
    config.validate(run_config)
    job = importlib.import_module(f"gpt1_jax.jobs.{run_config.job}")
    job.run(run_config, _WORKDIR.value or _default_workdir())


def _default_workdir() -> str:
    """runs/pretrain-paper for experiments/pretrain.py:paper."""
    filename = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, words = filename.partition(".py:")
    return "-".join([f"runs/{Path(path).stem}", *filter(None, words.split(","))])


if __name__ == "__main__":
    command.run(main)
