"""What pre-training is worth: dev scores of fine-tuned models with and without it.

    python -m benchmarks.pretraining_gain --checkpoint runs/pretrain
    python -m benchmarks.pretraining_gain --checkpoint runs/small --tasks cola,rte \
        --seeds 0,1,2 --max_steps 300 --task_dir /data/glue_data

Both sides have the same sizes, tokenizer, data, seeds and settings, those of
experiments/finetune.py; one starts from the checkpoint, the other from nothing
(config.init.num_layers=-2). Runs are kept in --workdir: the same command goes on.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments import finetune as experiment
from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.jobs import finetune
from gpt1_jax.workdirs import workdir

_FLAGS = flags.FlagValues()
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A pre-trained workdir.", required=True, flag_values=_FLAGS
)
_TASKS = flags.DEFINE_list(
    "tasks",
    [name for name, task in TASKS.items() if task.train],
    "Tasks, with commas between.",
    flag_values=_FLAGS,
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds.", flag_values=_FLAGS)
_MAX_STEPS = flags.DEFINE_integer(
    "max_steps", 0, "Steps of each run; 0: by epochs.", 0, flag_values=_FLAGS
)
_TASK_DIR = flags.DEFINE_string(
    "task_dir", "storyworld", "The root of the official folders.", flag_values=_FLAGS
)
_LEARNING_RATE = flags.DEFINE_float(
    "peak_learning_rate", 0.0, "0: the experiment's.", 0.0, flag_values=_FLAGS
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    "",
    "Where the runs are kept; empty: runs/gain-CHECKPOINT.",
    flag_values=_FLAGS,
)

# The name of a side: config.init.num_layers.
_SIDES = {"pre-trained": -1, "from scratch": -2}


def main() -> None:
    """Runs the command."""
    began = time.monotonic()
    table = {
        task: {
            side: [_score(task, num_layers, int(seed)) for seed in _SEEDS.value]
            for side, num_layers in _SIDES.items()
        }
        for task in _TASKS.value
    }
    terminal.say(render(table))
    minutes = (time.monotonic() - began) / 60
    terminal.say(f"{len(table) * 2 * len(_SEEDS.value)} runs, {minutes:.1f} minutes")
    files.write_atomically(_workdir() / "gain.json", json.dumps(table, indent=1) + "\n")


def _workdir() -> Path:
    return Path(_WORKDIR.value or f"runs/gain-{Path(_CHECKPOINT.value).name}")


def _score(task: str, num_layers: int, seed: int) -> float:
    """The dev score, in percent, of a run's best step by the task's first metric."""
    config = experiment.get_config(task)
    config.seed = seed
    config.init.path = _CHECKPOINT.value
    config.init.num_layers = num_layers
    config.data.task_dir = _TASK_DIR.value
    # storyworld's tasks are about the world of the books that the model has read.
    pretrained_on = workdir.read_config(Path(_CHECKPOINT.value)).data
    config.data.storyworld_seed = pretrained_on.storyworld_seed
    if _MAX_STEPS.value:
        config.train.max_steps = _MAX_STEPS.value
    if _LEARNING_RATE.value:
        config.optim.peak_learning_rate = _LEARNING_RATE.value
    side = "pretrained" if num_layers == -1 else "scratch"
    run_dir = _workdir() / f"{task}-{side}-seed{seed}"
    result = finetune.run(config, run_dir)
    return 100 * result["metrics"][f"eval/{TASKS[task].metrics[0]}"]


def render(table: dict[str, dict[str, list[float]]]) -> str:
    """The table, a line a task: each side's median over seeds, and the difference."""
    lines = [
        f"{'task':<12} {'metric':<10} {'pre-trained':>12} {'from scratch':>13} gain"
    ]
    gains = []
    for task, sides in table.items():
        with_, without = (statistics.median(sides[side]) for side in _SIDES)
        gains.append(with_ - without)
        lines.append(
            f"{task:<12} {TASKS[task].metrics[0]:<10} {with_:>12.1f} {without:>13.1f} "
            f"{gains[-1]:+.1f}"
        )
    averages = {side: _average(table, side) for side in _SIDES}
    lines.append(
        f"{'average':<12} {'':<10} {averages['pre-trained']:>12.1f} "
        f"{averages['from scratch']:>13.1f} {statistics.mean(gains):+.1f}"
    )
    return "\n".join(lines)


def _average(table: dict[str, Any], side: str) -> float:
    return statistics.mean(statistics.median(sides[side]) for sides in table.values())


if __name__ == "__main__":
    app.run(main, _FLAGS)
