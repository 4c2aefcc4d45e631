"""Books to token store: training a tokenizer, encoding the books, joining the parts.

The same recipe gives the same bytes for any number of workers. Work that was stopped is
continued, and two processes that want the same store make it once.
"""

import hashlib
import json
import shutil
import time
from pathlib import Path

from gpt1_jax import files, terminal
from gpt1_jax.config import DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.text import corpus, documents, encoding, recipes, tokenizers
from gpt1_jax.data.text.recipes import Recipe
from gpt1_jax.errors import UserError
from gpt1_jax.files import exclusive, naming, write_atomically

# Beyond these, much text is not trained on, or the held-out perplexity is unreliable.
_LARGEST_SHARE, _FEWEST_TOKENS = 0.2, 50_000


def open_corpus(config: DataConfig) -> corpus.TokenStore:
    """Returns the store that `config.corpus` names; prepares it in the cache if needed.

    Raises: UserError, NotFound: there is no corpus, or it cannot be used.
    """
    if not config.corpus:
        raise UserError(
            "config.data.corpus is empty; a glob of text files, a token store, "
            "storyworld or tfds:NAME is expected; set it, as in "
            "--config.data.corpus='/data/books/*.txt'"
        )
    store_dir = files.expand(config.corpus)
    if corpus.is_store(store_dir):
        for field in ("eval_corpus", "tokenizer"):
            if getattr(config, field) != getattr(DataConfig(), field):
                raise UserError(
                    f"config.data.{field}={getattr(config, field)!r}, but "
                    f"{config.corpus} is a prepared store that has its own; drop one"
                )
        return corpus.open_store(store_dir)
    recipe = recipes.make_recipe(config)
    cache_dir = files.expand(config.cache_dir)
    return prepare(recipe, cache_dir / "stores" / recipe.key[:32])


def prepare(
    recipe: Recipe, directory: Path, workers: int = 0, *, dask: str = ""
) -> corpus.TokenStore:
    """Returns the token store in `directory`, made from `recipe` if it is not there.

    Args:   workers, dask: as executors.choose; Dask's workers must see all paths.
    Raises: UserError: `directory` holds something else, or the books hold no text.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    lock = directory.with_name(f".{directory.name}.lock")
    if _is_prepared(recipe, directory) and not partial.exists():
        return corpus.open_store(directory)
    files.check_writable(lock.parent, f"name another, or {cached.CACHE_REMEDY}")
    with exclusive(lock):
        # Another process may have prepared it while this one waited for the lock.
        if not _is_prepared(recipe, directory):
            _begin(recipe, partial)
            tokenizer = _make_tokenizer(recipe, partial)
            counts = encoding.encode_books(
                recipe.books,
                partial / "parts",
                partial / corpus.TOKENIZER_DIR,
                workers=workers,
                dask=dask,
            )
            _assemble(recipe, tokenizer, counts, partial)
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
        books = [book for book in recipe.books if book.split == "train"]
        terminal.say(f"training a tokenizer of {recipe.vocab_size:,} pieces")
        began = time.monotonic()
        tokenizer = tokenizers.train(
            documents.sample(books), recipe.vocab_size, recipe.tokenizer
        )
        encoding.check_unchanged(books)
        tokenizer.save(directory)
        seconds = time.monotonic() - began
        terminal.say(f"trained in {terminal.duration(seconds)}")
    return tokenizers.load(directory)


def _assemble(
    recipe: Recipe, tokenizer: tokenizers.Tokenizer, counts: list[int], partial: Path
) -> None:
    """Makes the store in `partial` from the parts; `counts` has each book's tokens."""
    store = partial / "store"
    store.mkdir()
    tokens_sha256 = _join(partial / "parts", store / corpus.TOKENS_FILE)
    books, offset = [], 0
    tokens = {"train": 0, "valid": 0}
    for book, count in zip(recipe.books, counts, strict=True):
        books.append(
            {
                "name": book.path.name,
                "sha256": book.sha256,
                "bytes": book.num_bytes,
                "split": book.split,
                "offset": offset,
                "tokens": count,
            }
        )
        offset += count
        tokens[book.split] += count
    for split, total in tokens.items():
        if not total:
            raise UserError(
                f"the {split} books hold no text; every file is empty or blank; add "
                "books with text"
            )
    with_text = sum(bool(b["tokens"]) for b in books if b["split"] == "train")
    meta = {
        "key": recipe.key,
        "dtype": encoding.token_dtype(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "tokens": tokens,
        "empty_books": sum(not book["tokens"] for book in books),
        # Training windows cut the joined books: each seam lies in one window an epoch.
        "windows_across_books_per_epoch_at_most": with_text - 1,
        "tokens_sha256": tokens_sha256,
        "tokenizer_sha256": tokenizer.fingerprint,
        "books": books,
    }
    tokenizer.save(store / corpus.TOKENIZER_DIR)
    write_atomically(store / corpus.META_FILE, json.dumps(meta, indent=1))


def _join(parts: Path, path: Path) -> str:
    """Writes the tokens of all parts to `path`, in order; returns their sha256."""
    digest = hashlib.sha256()
    with naming(path), path.open("wb") as out:
        for part in sorted(parts.glob("*.bin")):
            with part.open("rb") as file:
                while block := file.read(1 << 24):
                    digest.update(block)
                    out.write(block)
    return digest.hexdigest()


def describe(store: corpus.TokenStore) -> str:
    """Returns a line about a store, for the terminal."""
    books = store.meta["books"]
    held_out = sum(book["split"] == "valid" for book in books)
    empty = store.meta["empty_books"]
    return (
        f"corpus: {len(books) - held_out:,} training books, "
        f"{store.meta['tokens']['train']:,} tokens; {held_out:,} held-out books, "
        f"{store.meta['tokens']['valid']:,} tokens; vocabulary "
        f"{store.meta['vocab_size']:,}"
        + (f"; {empty:,} books are empty" if empty else "")
    )


def split_warning(store: corpus.TokenStore) -> str:
    """Returns a warning about an unusual share of held-out text, or ""."""
    tokens = store.meta["tokens"]
    share = tokens["valid"] / (tokens["train"] + tokens["valid"])
    if share <= _LARGEST_SHARE and tokens["valid"] >= _FEWEST_TOKENS:
        return ""
    return (
        f"{tokens['valid']:,} tokens are held out, {share:.1%} of the corpus; from "
        f"{_FEWEST_TOKENS:,} tokens to {_LARGEST_SHARE:.0%} is usual; choose other "
        "books by data.eval_corpus, or change data.holdout_fraction"
    )
