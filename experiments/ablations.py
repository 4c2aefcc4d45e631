r"""Without pre-training, without the auxiliary objective, an LSTM (Sec. 5, Table 5).

    python -m gpt1_jax.main --config experiments/pretrain.py
    python -m gpt1_jax.main --config experiments/pretrain.py:lstm
    python -m gpt1_jax.sweep --config experiments/ablations.py \
        --config.init.path=runs/pretrain
Four variants on the eight tasks of Table 5, 32 runs; about 15 minutes on storyworld on
2 CPU cores. The LSTM is the one in the workdir whose name ends in `-lstm`, here
runs/pretrain-lstm, where pretrain.py:lstm puts it; without it three variants are run.
Words: tasks, for some of the eight only; and `paper`, the paper's settings on your
data, some hours on an H200 by estimate:
    --config experiments/ablations.py:paper --config.data.task_dir=/data/glue_data
The paper's averages: 74.7 in full, 59.9 without pre-training, 75.0 without the
auxiliary objective, which helps the larger data sets only, 69.1 with an LSTM.
"""

from experiments import finetune
from gpt1_jax import terminal
from gpt1_jax.config import RunConfig, experiment_words
from gpt1_jax.workdirs import workdir as workdir_lib

_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")


def get_config(words: str = ""):
    """The configuration of experiments/finetune.py for the first of the tasks."""
    paper = {"paper"} & experiment_words(words, known=(*_TASKS, "paper"))
    return finetune.get_config(",".join([_tasks(words)[0], *paper]))


def get_axes(config: RunConfig, words: str = ""):
    """The variants, on each of the tasks."""
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
            f"no finished run in {lstm}: the LSTM is left out; pretrain.py:lstm with "
            f"--workdir {lstm} makes one"
        )
    return {"variant": variants, "task.name": _tasks(words)}


def _tasks(words: str) -> list[str]:
    """The tasks that the words name, in the table's order; all if they name none."""
    given = experiment_words(words, known=(*_TASKS, "paper"))
    return [task for task in _TASKS if task in given] or list(_TASKS)
