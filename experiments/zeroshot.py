r"""Zero-shot behaviour over pre-training (Sec. 5, Figure 2, right).

    python -m gpt1_jax.main --config experiments/zeroshot.py \
        --config.init.path=runs/pretrain
Every checkpoint that the run has kept is scored on sentiment (SST-2), referents (DPR),
acceptability (CoLA) and questions (RACE) by what it finds likely; nothing is trained.
Pre-train with --config.train.keep_at_steps=10,30,100,300 to have checkpoints to show.
Seconds on storyworld; on real data --config.data.task_dir=/data/glue_data: those of the
four tasks whose files are there. A word names one task. The paper's end points, between
guessing and the best model: about 0.68 of the way in sentiment, 0.55 in referents, 0.43
in acceptability, 0.25 in questions.
"""

from gpt1_jax.config import RunConfig, experiment_words, to_config_dict
from gpt1_jax.evaluation.zeroshot import HEURISTICS


def get_config(words: str = ""):
    """The configuration; the word is the task, all without one."""
    known = tuple(heuristic.task for heuristic in HEURISTICS)
    config = to_config_dict(RunConfig(job="zeroshot"))
    config.task.name = "".join(experiment_words(words, known))
    return config
