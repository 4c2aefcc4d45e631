r"""Prepares books for pre-training: writes a token store from UTF-8 text files.

    python -m gpt1_jax.prepare --corpus '/data/books/*.txt' --output /data/store

Then: python -m gpt1_jax.main --config experiments/pretrain.py:paper \
          --config.data.corpus=/data/store
Each file is a book. The tokenizer is trained on the training books, unless --tokenizer
names another. If the command is stopped, running it again continues the work.
"""

import time

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import preparation, recipes

_DEFAULTS = DataConfig()

_FLAGS = flags.FlagValues()
_CORPUS = app.define_required(
    "corpus", "Glob (quote it), storyworld or tfds:NAME.", _FLAGS
)
_OUTPUT = app.define_required("output", "Directory to write.", _FLAGS)
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
    "sentencepiece or bpe (trained), openai, or a directory.",
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
    "Entries of a trained tokenizer.",
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
    "dask", "", "HOST:PORT of a Dask scheduler that encodes.", flag_values=_FLAGS
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
    output = files.expand(_OUTPUT.value).resolve()
    store = preparation.prepare(recipe, output, _WORKERS.value, dask=_DASK.value)
    terminal.say(preparation.describe(store))
    if warning := preparation.split_warning(store):
        terminal.warn(warning)
    megabytes = sum(book.num_bytes for book in recipe.books) / 1e6
    elapsed = terminal.duration(time.monotonic() - began)
    terminal.say(f"{store.directory}: {megabytes:,.1f} MB of text, {elapsed}")


if __name__ == "__main__":
    app.run(main, _FLAGS, is_resumable=True)
