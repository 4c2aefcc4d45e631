r"""Zero-shot behaviour over pre-training (Sec. 5, Figure 2, right).

    python -m gpt1_jax.main --config experiments/zeroshot.py \
        --config.init.path=runs/pretrain
Scores every checkpoint that the run has kept on sentiment (SST-2), referents (DPR),
acceptability (CoLA) and questions (RACE) by its probabilities, without training.
Pre-train with --config.train.keep_at_steps=10,30,100,300 to keep several checkpoints.
Takes seconds on storyworld. On real data, set --config.data.task_dir=/data/glue_data;
tasks without files there are left out. A word names one task. In the paper's figure,
where 0 is guessing and 1 the best model, the curves end near 0.68 for sentiment, 0.55
for referents, 0.43 for acceptability and 0.25 for questions.
"""

from gpt1_jax.config import RunConfig, experiment_words, to_config_dict
from gpt1_jax.evaluation.zeroshot import HEURISTICS


def get_config(words: str = ""):
    """Returns the config; the word is the task, by default all tasks."""
    known = tuple(heuristic.task for heuristic in HEURISTICS)
    config = to_config_dict(RunConfig(job="zeroshot"))
    config.task.name = "".join(experiment_words(words, known))
    return config
