"""Recipes of token stores: the files, the split and the tokenizer that a config names.

Equal recipes give equal stores, byte for byte. `preparation` carries a recipe out.
"""

import dataclasses
import glob
import hashlib
import json
from pathlib import Path

from gpt1_jax.config import STORYWORLD, DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.text import boilerplate, openai_bpe, sources, splitting, tokenizers
from gpt1_jax.data.text.documents import Source
from gpt1_jax.data.text.splitting import Split
from gpt1_jax.errors import UserError

# Increased whenever the store of the same books changes.
_RULES_VERSION = 4
# The prefix of a corpus that TFDS has prepared.
_TFDS = "tfds:"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines the bytes of a store."""

    split: Split
    tokenizer: str  # one of tokenizers.TRAINED, or a directory
    vocab_size: int
    lowercase: bool = True

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files of the corpus."""
        return self.split.sources

    @property
    def trains_tokenizer(self) -> bool:
        """True if a tokenizer is trained on the training documents."""
        return self.tokenizer in tokenizers.TRAINED

    @property
    def key(self) -> str:
        """The content address of the store: a sha256."""
        if self.trains_tokenizer:
            # The words below are parts of the keys of all stores: never change them.
            kind = [] if self.tokenizer == "sentencepiece" else [self.tokenizer]
            cased = [] if self.lowercase else ["cased"]
            tokenizer = ["learn", self.vocab_size, *kind, *cased]
            names = tokenizers.TRAINED[self.tokenizer].libraries
        else:
            given = tokenizers.load(Path(self.tokenizer))
            tokenizer, names = ["given", given.fingerprint], given.libraries
        split = [dataclasses.astuple(self.split.rule), self.split.holds_out_tail]
        sources = [
            (source.sha256, source.split, source.num_documents, *_cutting(source))
            for source in self.sources
        ]
        libraries = [tokenizers.library_version(name) for name in names]
        facts = json.dumps([_RULES_VERSION, libraries, tokenizer, split, sources])
        return hashlib.sha256(facts.encode()).hexdigest()


def _cutting(source: Source) -> tuple[bool, bool]:
    """Returns what decides which boilerplate is cut from a source's text."""
    cuts = source.options.strips_boilerplate
    return cuts, cuts and boilerplate.is_markdown(source.path)


def make_recipe(config: DataConfig) -> Recipe:
    """Returns the recipe of the corpus that `config` names.

    The books of storyworld and of TFDS are first written to the cache as files.
    Raises: UserError, NotFound: as splitting.find, cached.tfds_books, tokenizer_source.
    """
    pattern, eval_pattern = config.corpus, config.eval_corpus
    if pattern == STORYWORLD:
        pattern = _text_files_in(cached.storyworld_books(config))
    elif pattern.startswith(_TFDS):
        directories = cached.tfds_books(config, pattern.removeprefix(_TFDS))
        pattern, *held_out = map(_text_files_in, directories.values())
        eval_pattern = eval_pattern or "".join(held_out)
    else:
        pattern, eval_pattern = sources.dataset_splits(pattern, eval_pattern)
    tokenizer = tokenizer_source(config)
    _check_case(config, tokenizer)
    split = splitting.find(config, pattern, eval_pattern)
    return Recipe(split, tokenizer, config.vocab_size, config.lowercase)


def _check_case(config: DataConfig, tokenizer: str) -> None:
    """Raises a UserError where case is to be kept by a tokenizer that drops it."""
    is_trained = tokenizer in tokenizers.TRAINED
    if config.lowercase or is_trained or tokenizers.load(Path(tokenizer)).is_cased:
        return
    trained = " or ".join(tokenizers.TRAINED)
    raise UserError(
        f"data.lowercase=False, but the tokenizer {tokenizer} has lower-case entries "
        f"only; one trained with lowercase=False, or {trained}, is expected; name "
        "another data.tokenizer, or drop lowercase"
    )


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
