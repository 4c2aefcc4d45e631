r"""Without pre-training, without the auxiliary objective (Sec. 5, Table 5).

    python -m gpt1_jax.sweep --config experiments/ablations.py \
        --config.init.path=runs/pretrain
Three variants on the eight tasks of Table 5, 24 runs; about 12 minutes on storyworld on
2 CPU cores. The word `paper` gives the paper's settings on your data:
    --config experiments/ablations.py:paper --config.data.task_dir=/data/glue_data
The paper's averages: 74.7 in full, 59.9 without pre-training, 75.0 without the
auxiliary objective, which helps the larger data sets only.
"""

from experiments import finetune
from gpt1_jax.config import RunConfig, experiment_words

_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")


def get_config(words: str = ""):
    """The configuration of experiments/finetune.py for the first of the tasks."""
    given = experiment_words(words, known=("paper",))
    return finetune.get_config(",".join([_TASKS[0], *given]))


def get_axes(config: RunConfig):
    """The variants, on each of the tasks."""
    variants = {
        "full": {},
        "no_pretraining": {"init.num_layers": -2},
        "no_auxiliary_lm": {"task.lm_coef": 0.0},
    }
    return {"variant": variants, "task.name": list(_TASKS)}
