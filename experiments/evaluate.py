r"""Scores a fine-tuned model on a labelled split.

    python -m gpt1_jax.main --config experiments/evaluate.py:dev \
        --config.init.path=runs/finetune-rte --workdir runs/evaluate-rte
Uses the data of the fine-tuning unless config.data.task_dir is set. Each model needs a
workdir of its own. Word: dev or test (all such sets of the task; GLUE's test sets have
no labels), or the name of a split, such as train or dev_matched.

    python -m gpt1_jax.main --config experiments/evaluate.py:test \
        --config.init.path=runs/finetune-mnli --config.task.name=ax \
        --workdir runs/evaluate-ax
This scores a task that has no model of its own. Takes seconds on storyworld.
"""

from gpt1_jax.config import RunConfig, to_config_dict


def get_config(words: str = ""):
    """Returns the config; the word is the split, by default dev."""
    config = to_config_dict(RunConfig(job="evaluate"))
    config.task.split = words or "dev"
    return config
