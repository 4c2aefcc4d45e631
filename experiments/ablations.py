r"""Ablations: no pre-training, no auxiliary objective, an LSTM (Sec. 5, Table 5).

    python -m gpt1_jax.main --config experiments/pretrain.py
    python -m gpt1_jax.main --config experiments/pretrain.py:lstm
    python -m gpt1_jax.sweep --config experiments/ablations.py \
        --config.init.path=runs/pretrain
Runs four variants on the eight tasks of Table 5, 32 runs; about 15 minutes on
storyworld on 2 CPU cores. The LSTM is read from the workdir whose name ends in `-lstm`,
here runs/pretrain-lstm, the default of pretrain.py:lstm; without it there are three
variants.
Words: names of tasks restrict the eight; `paper` takes the paper's settings on your
data, an estimated few hours on an H200:
    --config experiments/ablations.py:paper --config.data.task_dir=/data/glue_data
The paper's averages: full model 74.7; without pre-training 59.9; without the auxiliary
objective, which helps the larger data sets only, 75.0; with an LSTM 69.1.
"""

from experiments import finetune
from gpt1_jax import terminal
from gpt1_jax.config import RunConfig, experiment_words
from gpt1_jax.workdirs import workdir as workdir_lib

_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")


def get_config(words: str = ""):
    """Returns the config of experiments/finetune.py for the first task."""
    paper = {"paper"} & experiment_words(words, known=(*_TASKS, "paper"))
    return finetune.get_config(",".join([_tasks(words)[0], *paper]))


def get_axes(config: RunConfig, words: str = ""):
    """Returns the axes: the variants and the tasks."""
    variants = {
        "full": {},
        "no_pretraining": {"init.num_layers": -2},
        "no_auxiliary_lm": {"task.lm_coef": 0.0},
    }
    lstm = f"{config.init.path.rstrip('/')}-lstm"
    if workdir_lib.is_finished(lstm):
        variants["lstm"] = {"init.path": lstm}
    else:
        terminal.warn(
            f"no finished run in {lstm}: the LSTM is left out; to include it, run "
            f"pretrain.py:lstm with --workdir {lstm}"
        )
    return {"variant": variants, "task.name": _tasks(words)}


def _tasks(words: str) -> list[str]:
    """Returns the tasks that the words name, by default all, in the table's order."""
    given = experiment_words(words, known=(*_TASKS, "paper"))
    return [task for task in _TASKS if task in given] or list(_TASKS)
