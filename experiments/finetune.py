r"""Fine-tuning on a task (Radford et al. 2018, Sec. 3.2, 3.3 and 4.1; Tables 2 to 4).

    python -m gpt1_jax.main --config experiments/finetune.py:rte \
        --config.init.path=runs/pretrain
Fine-tunes the demo model on a storyworld task, in less than a minute on 2 CPU cores.

    python -m gpt1_jax.main --config experiments/finetune.py:rte,paper \
        --config.init.path=runs/pretrain-paper --config.data.task_dir=/data/glue_data
The paper's run: 3 epochs, batches of 32, learning rate 6.25e-5, linear decay. On an
H200, estimated from 300 steps: seconds (RTE) to minutes (MNLI), and two or three
minutes to compile. Expected: the test scores of Tables 2 to 4, for example RTE 56.0.

    python -m gpt1_jax.main --config experiments/finetune.py:own \
        --config.init.path=runs/pretrain --config.data.train_file=train.csv
Fine-tunes on your own texts and labels; see docs/own_task.md. A tenth is held out
unless --config.data.dev_file names other examples.
Words: own, a task (cola sst2 mrpc stsb qqp mnli qnli rte wnli snli scitail race
storycloze), and `paper`. To train without pre-training (Table 5), set
--config.init.path=none, or --config.init.num_layers=-2 with a path. To train without
the auxiliary objective, set --config.task.lm_coef=0.0.
"""

from experiments import _demo as demo
from gpt1_jax.config import RunConfig, experiment_words, to_config_dict
from gpt1_jax.data.tasks import own_files
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import UserError


def get_config(words: str = ""):
    """Returns the demo's config of a task, or the paper's with the word `paper`."""
    trainable = tuple(name for name, task in TASKS.items() if task.train)
    known = dict.fromkeys((own_files.NAME, *trainable))
    given = experiment_words(words, known=(*known, "paper"))
    named = given - {"paper"}
    if len(named) != 1:
        raise UserError(
            f"words {words!r}; one task is expected, of {', '.join(known)}; write "
            "it after the colon, as in experiments/finetune.py:rte"
        )
    config = to_config_dict(RunConfig(job="finetune"))
    (config.task.name,) = named
    config.train.batch_size = 32
    config.train.epochs = 3
    config.train.eval_every_steps = 0  # after each epoch only
    config.train.checkpoint_every_steps = 500
    config.optim.peak_learning_rate = 6.25e-5
    config.optim.schedule = "linear"
    config.optim.warmup_steps = 0
    config.optim.warmup_fraction = 0.002
    if "paper" not in given:
        _demo(config)
    if named == {own_files.NAME}:
        config.data.task_dir = ""
        config.data.holdout_fraction = 0.1
    return config


def _demo(config):
    """Sets the sizes and the settings of the demo."""
    demo.shrink(config)  # its sizes count for config.init.path=none only
    config.train.batch_size = 8
    config.train.epochs = 4
    config.train.log_every_steps = 10
    # A small, briefly trained model tolerates a higher learning rate.
    config.optim.peak_learning_rate = 5e-4
    config.optim.warmup_fraction = 0.1
