"""Corpus to token store: training a tokenizer, encoding documents, joining the parts.

The same recipe gives the same bytes for any number of workers. Work that was stopped is
continued, and two processes that want the same store make it once.
"""

import collections
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from gpt1_jax import files, terminal
from gpt1_jax.config import DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.text import (
    corpus,
    documents,
    encoding,
    recipes,
    splitting,
    store_parts,
    tokenizer_training,
    tokenizers,
)
from gpt1_jax.data.text.recipes import Recipe
from gpt1_jax.errors import UserError
from gpt1_jax.files import exclusive, write_atomically, write_bytes_atomically

# What a prepared store has decided.
_FIELDS_OF_STORE = (
    "eval_corpus",
    "tokenizer",
    "documents",
    "text_column",
    "lowercase",
    "strip_gutenberg",
)
# Beyond these, much text is not trained on, or the held-out perplexity is unreliable.
_LARGEST_SHARE, _FEWEST_TOKENS = 0.2, 50_000


def open_corpus(config: DataConfig) -> corpus.TokenStore:
    """Returns the store that `config.corpus` names; prepares it in the cache if needed.

    Raises: UserError, NotFound: there is no corpus, or it cannot be used.
    """
    if not config.corpus:
        raise UserError(
            "config.data.corpus is empty; a glob of files, a directory, a token store, "
            "storyworld or tfds:NAME is expected; set it, as in "
            "--config.data.corpus='/data/books/*.txt'"
        )
    store_dir = files.expand(config.corpus)
    if corpus.is_store(store_dir):
        for field in _FIELDS_OF_STORE:
            if getattr(config, field) != getattr(DataConfig(), field):
                raise UserError(
                    f"config.data.{field}={getattr(config, field)!r}, but "
                    f"{config.corpus} is a prepared store that has its own; drop one"
                )
        return corpus.open_store(store_dir)
    recipe = recipes.make_recipe(config)
    stores = cached.root(config.cache_dir) / "stores"
    return prepare(recipe, stores / recipe.key[:32])


def prepare(
    recipe: Recipe, directory: Path, workers: int = 0, *, dask: str = ""
) -> corpus.TokenStore:
    """Returns the token store in `directory`, made from `recipe` if it is not there.

    Args:   workers, dask: as executors.choose; Dask's workers must see all paths.
    Raises: UserError: `directory` holds something else, or the books hold no text.
    """
    partial = files.hidden_beside(directory, ".partial")
    lock = files.hidden_beside(directory, ".lock")
    files.check_name(directory, "name another")
    if _is_prepared(recipe, directory) and not partial.exists():
        return corpus.open_store(directory)
    files.check_writable(lock.parent, f"name another, or {cached.CACHE_REMEDY}")
    with exclusive(lock):
        # Another process may have prepared it while this one waited for the lock.
        if not _is_prepared(recipe, directory):
            _begin(recipe, partial)
            tokenizer = _make_tokenizer(recipe, partial)
            counts, cut = encoding.encode(
                recipe.split,
                partial / "parts",
                partial / corpus.TOKENIZER_DIR,
                workers=workers,
                dask=dask,
            )
            _assemble(recipe, tokenizer, (counts, cut), partial)
            (partial / "store").replace(directory)
        shutil.rmtree(partial, ignore_errors=True)
        # A process that waits for the lock finds the store prepared.
        lock.unlink(missing_ok=True)
    return corpus.open_store(directory)


def _is_prepared(recipe: Recipe, directory: Path) -> bool:
    """Returns whether `directory` holds the store of `recipe`.

    Raises: UserError: it holds anything else.
    """
    if corpus.is_store(directory):
        if corpus.open_store(directory).meta["key"] == recipe.key:
            return True
        raise UserError(
            f"{directory} holds a store of other books or settings; an empty or new "
            "directory is expected; name another directory or delete it"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(
            f"{directory} exists and is not a token store; an empty or new directory "
            "is expected; name another directory"
        )
    return False


def _begin(recipe: Recipe, partial: Path) -> None:
    """Makes the directory of unfinished work; keeps earlier work on the same recipe."""
    mark = partial / "key"
    if not mark.is_file() or mark.read_text() != recipe.key:
        shutil.rmtree(partial, ignore_errors=True)
        write_atomically(mark, recipe.key)
    shutil.rmtree(partial / "store", ignore_errors=True)


def _make_tokenizer(recipe: Recipe, partial: Path) -> tokenizers.Tokenizer:
    """Loads the recipe's tokenizer, or trains one on the training books."""
    directory = partial / corpus.TOKENIZER_DIR
    if not recipe.trains_tokenizer:
        tokenizers.load(Path(recipe.tokenizer)).save(directory)
    elif not tokenizers.is_tokenizer(directory):
        sources = [source for source in recipe.sources if source.split != "valid"]
        terminal.say(f"training a tokenizer of {recipe.vocab_size:,} pieces")
        began = time.monotonic()
        tokenizer = tokenizer_training.train(
            splitting.sample(recipe.split),
            recipe.vocab_size,
            recipe.tokenizer,
            lowercase=recipe.lowercase,
        )
        encoding.check_unchanged(sources)
        tokenizer.save(directory)
        seconds = time.monotonic() - began
        terminal.say(f"trained in {terminal.duration(seconds)}")
    return tokenizers.load(directory)


def _assemble(
    recipe: Recipe,
    tokenizer: tokenizers.Tokenizer,
    encoded: tuple[list[dict[str, dict[str, int]]], collections.Counter[str]],
    partial: Path,
) -> None:
    """Makes the store in `partial` from the parts.

    Args: encoded: what encoding.encode returned.
    """
    counts, cut = encoded
    store = partial / "store"
    store.mkdir()
    sha256, lengths = store_parts.join(partial / "parts", store / corpus.TOKENS_FILE)
    if recipe.split.holds_out_tail:
        lengths, counts = _hold_out_tail(lengths, counts)
    for split, of_split in lengths.items():
        if not len(of_split):
            raise UserError(
                f"the {split} books hold no text; every document is empty or blank; "
                "add books with text"
            )
    ends = np.cumsum(np.concatenate([*lengths.values()]), dtype=np.uint64)
    offsets = np.concatenate([np.zeros(1, np.uint64), ends]).astype("<u8").tobytes()
    write_bytes_atomically(store / corpus.OFFSETS_FILE, offsets)

    def totals(name: str) -> dict[str, int]:
        return {
            split: sum(splits[split][name] for splits in counts)
            for split in store_parts.SPLITS
        }

    meta = {
        "key": recipe.key,
        "dtype": store_parts.token_dtype(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "tokens": totals("tokens"),
        "words": totals("words"),
        # Documents with tokens, whose offsets are in a file of their own.
        "documents": {split: len(of_split) for split, of_split in lengths.items()},
        "empty_documents": sum(totals("empty").values()),
        "cut": dict(cut),
        # Training windows cut the joined documents: each seam lies in one window an
        # epoch.
        "windows_across_books_per_epoch_at_most": len(lengths["train"]) - 1,
        "tokens_sha256": sha256,
        "offsets_sha256": hashlib.sha256(offsets).hexdigest(),
        "tokenizer_sha256": tokenizer.fingerprint,
        "books": [
            _file_entry(source, splits)
            for source, splits in zip(recipe.sources, counts, strict=True)
        ],
    }
    tokenizer.save(store / corpus.TOKENIZER_DIR)
    write_atomically(store / corpus.META_FILE, json.dumps(meta, indent=1))


def _hold_out_tail(
    lengths: dict[str, np.ndarray], counts: list[dict[str, dict[str, int]]]
) -> tuple[dict[str, np.ndarray], list[dict[str, dict[str, int]]]]:
    """Returns lengths and counts with the end of the only document held out.

    Words are counted in proportion to tokens.
    """
    total = int(lengths["train"].sum())
    held_out = max(1, round(total * splitting.TAIL_SHARE))
    if total < 2:
        return lengths, counts
    lengths = {
        "train": np.array([total - held_out], np.uint64),
        "valid": np.array([held_out], np.uint64),
    }
    divided = []
    for splits in counts:
        train, valid = dict(splits["train"]), dict(splits["valid"])
        if train["tokens"]:
            valid["tokens"], valid["documents"] = held_out, 1
            valid["words"] = round(train["words"] * held_out / total)
            train["tokens"] -= held_out
            train["words"] -= valid["words"]
        divided.append({"train": train, "valid": valid})
    return lengths, divided


def _file_entry(
    source: documents.Source, splits: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Returns what meta.json says about an input file."""
    names = ("tokens", "words", "documents")
    entry: dict[str, Any] = {
        "path": str(source.path),
        "sha256": source.sha256,
        "bytes": source.num_bytes,
    }
    used = [split for split in store_parts.SPLITS if splits[split]["documents"]]
    if len(used) == 1:
        entry["split"] = used[0]
    else:
        entry["splits"] = {
            split: {name: splits[split][name] for name in names}
            for split in store_parts.SPLITS
        }
    totals = {name: sum(splits[s][name] for s in store_parts.SPLITS) for name in names}
    # The end of a document that is cut in two is no document of its own.
    totals["documents"] = min(totals["documents"], source.num_documents)
    return entry | totals


def describe(store: corpus.TokenStore) -> str:
    """Returns a line about a store, for the terminal."""
    meta = store.meta
    counts, tokens, cut = meta["documents"], meta["tokens"], meta["cut"]
    # Files that are documents are books.
    is_book = sum(book["documents"] for book in meta["books"]) == len(meta["books"])
    noun = "book" if is_book else "document"
    notes = [
        f"corpus: {terminal.counted(counts['train'], f'training {noun}')}, "
        f"{tokens['train']:,} tokens",
        f"{terminal.counted(counts['valid'], f'held-out {noun}')}, "
        f"{tokens['valid']:,} tokens",
        f"vocabulary {meta['vocab_size']:,}",
        f"held out: {_held_out_share(store):.1%}",
    ]
    if empty := meta["empty_documents"]:
        notes.append(terminal.counted(empty, f"empty {noun}"))
    if characters := cut.get("characters"):
        licences = terminal.counted(cut.get("licences", 0), "licence")
        front_matters = terminal.counted(cut.get("front matter", 0), "front matter")
        notes.append(
            f"cut: {licences} of Project Gutenberg and {front_matters}, "
            f"{characters:,} characters ({_cut_share(store):.1%})"
        )
    return "; ".join(notes)


def _held_out_share(store: corpus.TokenStore) -> float:
    tokens = store.meta["tokens"]
    return tokens["valid"] / (tokens["train"] + tokens["valid"])


def _cut_share(store: corpus.TokenStore) -> float:
    """Returns the share of the characters that are cut as boilerplate."""
    cut = store.meta["cut"]
    # Stores of earlier versions do not have the number of all characters.
    return cut["characters"] / cut["read"] if cut.get("read") else 0.0


def warnings(store: corpus.TokenStore) -> list[str]:
    """Returns warnings about an unusual share of held-out text or of cut text."""
    found = (_split_warning(store), _cut_warning(store))
    return [warning for warning in found if warning]


def _cut_warning(store: corpus.TokenStore) -> str:
    """Returns a warning about an unusual share of text that is cut, or ""."""
    share = _cut_share(store)
    if share <= _LARGEST_SHARE:
        return ""
    return (
        f"{share:.1%} of the characters are cut as licences and front matter; at most "
        f"{_LARGEST_SHARE:.0%} is usual; if text is missing, use "
        "data.strip_gutenberg=False"
    )


def _split_warning(store: corpus.TokenStore) -> str:
    """Returns a warning about an unusual share of held-out text, or ""."""
    tokens = store.meta["tokens"]
    share = _held_out_share(store)
    if share <= _LARGEST_SHARE and tokens["valid"] >= _FEWEST_TOKENS:
        return ""
    return (
        f"{tokens['valid']:,} tokens are held out, {share:.1%} of the corpus; at least "
        f"{_FEWEST_TOKENS:,} tokens and at most {_LARGEST_SHARE:.0%} is usual; choose "
        "other text by data.eval_corpus, or change data.holdout_fraction"
    )
