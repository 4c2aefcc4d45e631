"""Model and data of the demo, which the experiments share: minutes on 2 CPU cores."""

from ml_collections import ConfigDict

from gpt1_jax.config import STORYWORLD


def shrink(config: ConfigDict) -> None:
    """Sets the demo's sizes and the built-in books and tasks in `config`."""
    config.data.corpus = STORYWORLD
    config.data.task_dir = STORYWORLD
    config.data.holdout_fraction = 0.05
    config.data.vocab_size = 2048

    config.model.num_layers = 4
    config.model.width = 128
    config.model.num_heads = 4
    config.model.mlp_width = 512
    config.model.context_length = 64
