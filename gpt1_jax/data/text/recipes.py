"""Recipes of token stores: the books, the split and the tokenizer that a config names.

Equal recipes give equal stores, byte for byte. `preparation` carries a recipe out.
"""

import dataclasses
import glob
import hashlib
import json
from pathlib import Path

from gpt1_jax.config import STORYWORLD, DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.text import documents, openai_bpe, tokenizers
from gpt1_jax.data.text.documents import Book
from gpt1_jax.errors import UserError

# Increased whenever the tokens of the same books change.
_RULES_VERSION = 2
# The prefix of a corpus that TFDS has prepared.
_TFDS = "tfds:"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines the bytes of a store."""

    books: tuple[Book, ...]  # training books first
    tokenizer: str  # one of tokenizers.TRAINED, or a directory
    vocab_size: int

    @property
    def trains_tokenizer(self) -> bool:
        """True if a tokenizer is trained on the training books."""
        return self.tokenizer in tokenizers.TRAINED

    @property
    def key(self) -> str:
        """The content address of the store: a sha256."""
        if self.trains_tokenizer:
            # The words below are parts of the keys of all stores: never change them.
            kind = [] if self.tokenizer == "sentencepiece" else [self.tokenizer]
            tokenizer = ["learn", self.vocab_size, *kind]
            names = tokenizers.TRAINED[self.tokenizer].libraries
        else:
            given = tokenizers.load(Path(self.tokenizer))
            tokenizer, names = ["given", given.fingerprint], given.libraries
        sources = [(book.sha256, book.split) for book in self.books]
        libraries = [tokenizers.library_version(name) for name in names]
        facts = json.dumps([_RULES_VERSION, libraries, tokenizer, sources])
        return hashlib.sha256(facts.encode()).hexdigest()


def make_recipe(config: DataConfig) -> Recipe:
    """Returns the recipe of the corpus that `config` names.

    The books of storyworld and of TFDS are first written to the cache as files.
    Raises: UserError, NotFound: as documents.find, cached.tfds_books, tokenizer_source.
    """
    pattern, eval_pattern = config.corpus, config.eval_corpus
    if pattern == STORYWORLD:
        pattern = _text_files_in(cached.storyworld_books(config))
    elif pattern.startswith(_TFDS):
        directories = cached.tfds_books(config, pattern.removeprefix(_TFDS))
        pattern, *held_out = map(_text_files_in, directories.values())
        eval_pattern = eval_pattern or "".join(held_out)
    tokenizer = tokenizer_source(config)
    books = documents.find(pattern, eval_pattern, config.holdout_fraction)
    return Recipe(books, tokenizer, config.vocab_size)


def tokenizer_source(config: DataConfig) -> str:
    """Returns one of tokenizers.TRAINED, or the directory of a given tokenizer.

    Raises: UserError: `openai` without the directory of its files.
    """
    if config.tokenizer != "openai":
        return config.tokenizer
    if not config.openai_bpe_dir:
        vocabulary, merges = openai_bpe.FILE_NAMES[0]
        raise UserError(
            "config.data.tokenizer=openai, but config.data.openai_bpe_dir is empty; "
            f"the directory with the released {vocabulary} and {merges} is expected; "
            "set it"
        )
    return config.openai_bpe_dir


def _text_files_in(directory: Path) -> str:
    """Returns the glob of a directory's text files."""
    return f"{glob.escape(str(directory))}/*.txt"
