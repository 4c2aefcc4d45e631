r"""Scores of a fine-tuned model on a labelled split.

    python -m gpt1_jax.main --config experiments/evaluate.py:dev \
        --config.init.path=runs/finetune-rte
On the built-in storyworld tasks: seconds. Words: dev or test (all sets of the task), or
any one split, as train or dev_matched.

    python -m gpt1_jax.main --config experiments/evaluate.py:dev \
        --config.init.path=runs/finetune-rte-paper \
        --config.data.task_dir=/data/glue_data
On the official files.
"""

from gpt1_jax.config import STORYWORLD, RunConfig, to_config_dict


def get_config(words: str = ""):
    """The configuration; the word is the split, dev without one."""
    config = to_config_dict(RunConfig(job="evaluate"))
    config.data.task_dir = STORYWORLD
    config.task.split = words or "dev"
    return config
