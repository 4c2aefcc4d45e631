r"""Prepares books for pre-training: UTF-8 text files to a token store.

    python -m gpt1_jax.prepare --corpus '/data/books/*.txt' --output /data/store

Then: python -m gpt1_jax.main --config experiments/pretrain.py:paper \
          --config.data.corpus=/data/store
One book a file. Learns a byte-pair encoding from the training books, unless
--tokenizer names a directory with one. Stopped, the same command goes on.
"""

import time
from pathlib import Path

from absl import flags

from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import preparation, recipes

_DEFAULTS = DataConfig()

_FLAGS = flags.FlagValues()
_CORPUS = flags.DEFINE_string(
    "corpus",
    None,
    "Glob (quote it), storyworld or tfds:NAME.",
    required=True,
    flag_values=_FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write.", required=True, flag_values=_FLAGS
)
_EVAL_CORPUS = flags.DEFINE_string(
    "eval_corpus",
    _DEFAULTS.eval_corpus,
    "Glob of held-out books; empty: some of corpus.",
    flag_values=_FLAGS,
)
_HOLDOUT = flags.DEFINE_float(
    "holdout_fraction",
    _DEFAULTS.holdout_fraction,
    "Share of books held out.",
    0,
    0.5,
    flag_values=_FLAGS,
)
_TOKENIZER = flags.DEFINE_string(
    "tokenizer",
    _DEFAULTS.tokenizer,
    "sentencepiece (learnt), openai, or a directory.",
    flag_values=_FLAGS,
)
_OPENAI_BPE_DIR = flags.DEFINE_string(
    "openai_bpe_dir",
    _DEFAULTS.openai_bpe_dir,
    "Where the released files are.",
    flag_values=_FLAGS,
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    _DEFAULTS.vocab_size,
    "Entries of a learnt vocabulary.",
    300,
    flag_values=_FLAGS,
)
_TFDS_DIR = flags.DEFINE_string(
    "tfds_dir",
    _DEFAULTS.tfds_dir,
    "Where TFDS prepared tfds:NAME.",
    flag_values=_FLAGS,
)
_WORKERS = flags.DEFINE_integer(
    "workers", 0, "Processes; 0: one for each core, at most 6.", 0, flag_values=_FLAGS
)


_DASK = flags.DEFINE_string(
    "dask", "", "HOST:PORT of a Dask scheduler to encode there.", flag_values=_FLAGS
)


def main() -> None:
    """Runs the command."""
    began = time.monotonic()
    terminal.say(f"reading {_CORPUS.value}")
    config = DataConfig(
        corpus=_CORPUS.value,
        eval_corpus=_EVAL_CORPUS.value,
        holdout_fraction=_HOLDOUT.value,
        tokenizer=_TOKENIZER.value,
        openai_bpe_dir=_OPENAI_BPE_DIR.value,
        vocab_size=_VOCAB_SIZE.value,
        tfds_dir=_TFDS_DIR.value,
    )
    recipe = recipes.make_recipe(config)
    output = Path(_OUTPUT.value).expanduser().resolve()
    store = preparation.prepare(recipe, output, _WORKERS.value, dask=_DASK.value)
    terminal.say(preparation.describe(store))
    megabytes = sum(book.num_bytes for book in recipe.books) / 1e6
    elapsed = terminal.duration(time.monotonic() - began)
    terminal.say(f"{store.directory}: {megabytes:,.1f} MB of text, {elapsed}")


if __name__ == "__main__":
    app.run(main, _FLAGS, is_resumable=True)
