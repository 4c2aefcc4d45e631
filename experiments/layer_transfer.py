r"""Fine-tuning with some of the pre-trained layers (Sec. 5, Figure 2, left).

    python -m gpt1_jax.sweep --config experiments/layer_transfer.py:rte \
        --config.init.path=runs/pretrain
A run of experiments/finetune.py for each number of layers that are taken over: -2 takes
nothing, 0 the embeddings, n these and the first n layers. Beside the dev set, a sample
of the training set is scored, for the figure's second curve. On storyworld about 3
minutes on 2 CPU cores; add --axis for other axes, as seeds:
    --axis init.num_layers=-2,0,2,4 --axis seed=0,1,2
The paper shows MNLI and RACE: each layer helps, all twelve by up to 9 points on MNLI.
With `paper` after the task, the paper's settings on your data: 14 runs, each of minutes
to an hour on an H200, by estimate (300 steps take seconds, compiling some minutes).
"""

from experiments import finetune
from gpt1_jax.config import RunConfig
from gpt1_jax.errors import UserError
from gpt1_jax.workdirs import model_store


def get_config(words: str = ""):
    """The configuration of experiments/finetune.py with the same words."""
    config = finetune.get_config(words)
    config.task.num_train_scored = 1000
    return config


def get_axes(config: RunConfig, words: str = ""):
    """From nothing to all layers of the model in config.init.path."""
    if config.init.path == "none":
        raise UserError(
            "config.init.path=none; a pre-trained workdir, whose layers are to be "
            "taken over, is expected; set it, as in --config.init.path=runs/pretrain"
        )
    depth = model_store.read_config(config.init.path).model.depth
    return {"init.num_layers": [-2, *range(depth + 1)]}
