r"""Generative pre-training (Radford et al. 2018, Sec. 3.1 and 4.1).

    python -m gpt1_jax.main --config experiments/pretrain.py
Trains the demo on the built-in storyworld in about 2 minutes on 2 CPU cores. Expected:
a held-out perplexity of about a twelfth of the unigram's.

    python -m gpt1_jax.main --config experiments/pretrain.py:small \
        --config.data.corpus='/data/books/*.txt'
Trains 5 million parameters on your own books on a laptop: 2.4 million tokens in about
15 minutes on 2 CPU cores. docs/results.md has the results on public-domain novels.

    python -m gpt1_jax.main --config experiments/pretrain.py:paper \
        --config.data.corpus='/data/books/*.txt'
The paper's run: 12 layers, width 768, 100 epochs, batches of 64 x 512 tokens. Expected:
a held-out perplexity of 18.4 on BooksCorpus. It took a month on 8 GPUs in 2018; about
110 billion tokens take 58 hours at an H100's 526,000 tokens a second.

    python -m gpt1_jax.main --config experiments/pretrain.py:small \
        --config.init.path=runs/gpt1 --config.data.corpus='/data/books/*.txt'
Pre-training goes on from a model: a workdir, one of its checkpoints/STEP, or weights
that gpt1_jax.convert has read. Sizes and tokenizer are the model's; optimizer and
schedule begin anew. The end shows the held-out perplexity before the first step too.

The word `lstm`, alone or beside another, replaces the Transformer by an LSTM (Sec. 5,
Table 5): one layer of 2,048 units, or of 256 in the demo and in small.
"""

from experiments import _demo as demo
from gpt1_jax.config import RunConfig, experiment_words, to_config_dict
from gpt1_jax.errors import UserError


def get_config(words: str = ""):
    """Returns the demo's config, or that of the words `small` or `paper`."""
    config = to_config_dict(RunConfig(job="pretrain"))
    given = experiment_words(words, known=("small", "paper", "lstm"))
    if {"small", "paper"} <= given:
        raise UserError("words small,paper; they exclude each other; keep one")
    if "lstm" in given:
        config.model.backbone = "lstm"
        if "paper" not in given:
            config.model.lstm_width = 256
    if "paper" in given:
        return config
    return _small(config) if "small" in given else _demo(config)


def _demo(config):
    demo.shrink(config)
    config.train.batch_size = 32
    config.train.max_steps = 340
    config.train.log_every_steps = 20
    config.train.eval_every_steps = 170
    config.train.checkpoint_every_steps = 85

    # A small model on easy text tolerates a higher rate; post-LN needs its warm-up.
    config.optim.peak_learning_rate = 2e-3
    config.optim.warmup_steps = 100
    return config


def _small(config):
    config.data.vocab_size = 8000

    config.model.num_layers = 4
    config.model.width = 256
    config.model.num_heads = 4
    config.model.mlp_width = 1024
    config.model.context_length = 128
    # No dropout: with less than one epoch the model cannot overfit.
    config.model.embedding_dropout = 0.0
    config.model.residual_dropout = 0.0
    config.model.attention_dropout = 0.0

    config.train.batch_size = 16
    config.train.eval_batch_size = 32
    config.train.max_steps = 1150
    config.train.log_every_steps = 10
    config.train.eval_every_steps = 0
    config.train.checkpoint_every_steps = 250

    config.optim.peak_learning_rate = 1e-3
    config.optim.warmup_steps = 200
    return config
