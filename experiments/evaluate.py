r"""Scores of a fine-tuned model on a labelled split.

    python -m gpt1_jax.main --config experiments/evaluate.py:dev \
        --config.init.path=runs/finetune-rte --workdir runs/evaluate-rte
On the data that the model was fine-tuned on, or that config.data.task_dir names; a
workdir for each model. Words: dev or test (all sets of the task; GLUE's test sets have
no labels), or any one split, as train or dev_matched.

    python -m gpt1_jax.main --config experiments/evaluate.py:test \
        --config.init.path=runs/finetune-mnli --config.task.name=ax \
        --workdir runs/evaluate-ax
A task that another's model predicts. Seconds on storyworld.
"""

from gpt1_jax.config import RunConfig, to_config_dict


def get_config(words: str = ""):
    """The configuration; the word is the split, dev without one."""
    config = to_config_dict(RunConfig(job="evaluate"))
    config.task.split = words or "dev"
    return config
