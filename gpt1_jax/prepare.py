r"""Prepares a corpus for pre-training: writes a token store.

    python -m gpt1_jax.prepare --corpus '/data/books/*.txt' --output /data/store

Then: python -m gpt1_jax.main --config experiments/pretrain.py:paper \
          --config.data.corpus=/data/store
A text file is a document; of JSON Lines and parquet, each record is one (--documents).
If the command is stopped, running it again continues the work.
"""

import time

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import preparation, recipes

_FLAGS = flags.FlagValues()
_CORPUS = app.define_required(
    "corpus",
    "File, glob (quote it), directory, storyworld or tfds:NAME.",
    _FLAGS,
)
_OUTPUT = app.define_required("output", "Directory to write.", _FLAGS)
_FIELDS = app.define_fields(
    DataConfig,
    (
        "eval_corpus",
        "holdout_fraction",
        "documents",
        "text_column",
        "lowercase",
        "strip_gutenberg",
        "tokenizer",
        "openai_bpe_dir",
        "vocab_size",
        "tfds_dir",
    ),
    _FLAGS,
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
    config = DataConfig(corpus=_CORPUS.value, **_FIELDS())
    recipe = recipes.make_recipe(config)
    output = files.expand(_OUTPUT.value).resolve()
    store = preparation.prepare(recipe, output, _WORKERS.value, dask=_DASK.value)
    terminal.say(preparation.describe(store))
    for warning in preparation.warnings(store):
        terminal.warn(warning)
    megabytes = sum(source.num_bytes for source in recipe.sources) / 1e6
    elapsed = terminal.duration(time.monotonic() - began)
    terminal.say(f"{store.directory}: {megabytes:,.1f} MB of text, {elapsed}")


if __name__ == "__main__":
    app.run(main, _FLAGS, is_resumable=True)
