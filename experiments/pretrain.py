"""Generative pre-training (Radford et al. 2018, Sec. 3.1 and 4.1).

    python -m gpt1_jax.main --config experiments/pretrain.py
A demo on the built-in storyworld: about 2 minutes on 2 CPU cores; the held-out
perplexity ends below a tenth of the unigram's.

    python -m gpt1_jax.main --config experiments/pretrain.py:paper \
        --config.data.corpus='/data/books/*.txt'
The paper's run: 12 layers, width 768, 100 epochs of 64 x 512 tokens, held-out
perplexity 18.4 on BooksCorpus. A month on 8 GPUs in 2018; about 110 billion tokens.
"""

from gpt1_jax.config import RunConfig, experiment_words, to_config_dict


def get_config(words: str = ""):
    """The demo's configuration, or with the word `paper` the paper's."""
    config = to_config_dict(RunConfig(job="pretrain"))
    if "paper" in experiment_words(words, known=("paper",)):
        return config

    config.data.corpus = "storyworld"
    config.data.holdout_fraction = 0.05
    config.data.vocab_size = 1024

    config.model.num_layers = 4
    config.model.width = 128
    config.model.num_heads = 4
    config.model.mlp_width = 512
    config.model.context_length = 64

    config.train.batch_size = 32
    config.train.max_steps = 800
    config.train.log_every_steps = 20
    config.train.eval_every_steps = 200
    config.train.checkpoint_every_steps = 200

    # A small model on easy text bears a higher rate; post-LN still needs its warm-up.
    config.optim.peak_learning_rate = 2e-3
    config.optim.warmup_steps = 100
    return config
