r"""Fine-tuning with only some pre-trained layers (Sec. 5, Figure 2, left).

    python -m gpt1_jax.sweep --config experiments/layer_transfer.py:rte \
        --config.init.path=runs/pretrain
Runs experiments/finetune.py for each number of copied layers: -2 copies nothing, 0 the
embeddings, n the embeddings and the first n layers. A sample of the training set is
scored too, for the figure's second curve. About 3 minutes on storyworld on 2 CPU cores.
Add --axis for other axes, such as seeds:
    --axis init.num_layers=-2,0,2,4 --axis seed=0,1,2
The paper shows MNLI and RACE: each layer helps, all twelve by up to 9 points on MNLI.
With `paper` after the task, the paper's settings on your data: 14 runs, each an
estimated few minutes to an hour on an H200 (300 steps take seconds, compiling some
minutes).
"""

from experiments import finetune
from gpt1_jax.config import RunConfig
from gpt1_jax.errors import UserError
from gpt1_jax.workdirs import model_store


def get_config(words: str = ""):
    """Returns the config of experiments/finetune.py for the same words."""
    config = finetune.get_config(words)
    config.task.num_train_scored = 1000
    return config


def get_axes(config: RunConfig, words: str = ""):
    """Returns the axis: from no layer to all layers of the model in init.path."""
    if config.init.path == "none":
        raise UserError(
            "config.init.path=none; a pre-trained workdir to copy layers from is "
            "expected; set it, as in --config.init.path=runs/pretrain"
        )
    depth = model_store.read_config(config.init.path).model.depth
    return {"init.num_layers": [-2, *range(depth + 1)]}
