"""Books to token store: learning a tokenizer, encoding, joining.

The same books and settings give the same bytes for any number of workers. Work goes on
where it was stopped, and two processes that want the same store make it once.
"""

import concurrent.futures
import dataclasses
import glob
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt1_jax import terminal
from gpt1_jax.config import STORYWORLD, DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.text import (
    clean,
    corpus,
    documents,
    executors,
    openai_bpe,
    tokenizers,
)
from gpt1_jax.data.text.documents import Book
from gpt1_jax.errors import UserError
from gpt1_jax.files import exclusive, naming, write_atomically

# Increased whenever the same books would give other tokens than before.
_RULES_VERSION = 2
_GROUP_BYTES = 4 << 20
# Below this, starting processes takes longer than the work.
_WORTH_PROCESSES_BYTES = 8 << 20
# The prefix of a corpus that TFDS has prepared.
_TFDS = "tfds:"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines the bytes of a store."""

    books: tuple[Book, ...]  # training books first
    tokenizer: str  # sentencepiece, or a directory
    vocab_size: int

    @property
    def key(self) -> str:
        """The content address of the store: a sha256."""
        if self.tokenizer == "sentencepiece":
            tokenizer = ["learn", self.vocab_size]
            names = tokenizers.SentencePieceTokenizer.libraries
        else:
            given = tokenizers.load(Path(self.tokenizer))
            tokenizer, names = ["given", given.fingerprint], given.libraries
        sources = [(book.sha256, book.split) for book in self.books]
        libraries = [tokenizers.library_version(name) for name in names]
        facts = json.dumps([_RULES_VERSION, libraries, tokenizer, sources])
        return hashlib.sha256(facts.encode()).hexdigest()


def open_corpus(config: DataConfig) -> corpus.TokenStore:
    """The store that `config.corpus` names, prepared in `config.cache_dir` if need be.

    Raises: UserError, NotFound: no corpus, or one that can't be used.
    """
    if not config.corpus:
        raise UserError(
            "config.data.corpus is empty; a glob of text files, a token store, "
            "storyworld or tfds:NAME; set it, as in "
            "--config.data.corpus='/data/books/*.txt'"
        )
    store_dir = Path(config.corpus).expanduser()
    if corpus.is_store(store_dir):
        for field in ("eval_corpus", "tokenizer"):
            if getattr(config, field) != getattr(DataConfig(), field):
                raise UserError(
                    f"config.data.{field}={getattr(config, field)!r}, but "
                    f"{config.corpus} is a prepared store that has its own; drop one"
                )
        return corpus.open_store(store_dir)
    recipe = recipe_of(config)
    cache_dir = Path(config.cache_dir).expanduser()
    return prepare(recipe, cache_dir / "stores" / recipe.key[:32])


def recipe_of(config: DataConfig) -> Recipe:
    """The recipe of the books that `config` names, written as files if need be.

    Raises: UserError, NotFound: as documents.find and cached.tfds_books.
    """
    pattern, eval_pattern = config.corpus, config.eval_corpus
    if pattern == STORYWORLD:
        pattern = _texts_in(cached.storyworld_books(config))
    elif pattern.startswith(_TFDS):
        directories = cached.tfds_books(config, pattern.removeprefix(_TFDS))
        pattern, *held_out = map(_texts_in, directories.values())
        eval_pattern = eval_pattern or "".join(held_out)
    return make_recipe(
        pattern,
        eval_pattern=eval_pattern,
        holdout_fraction=config.holdout_fraction,
        tokenizer=tokenizer_source(config),
        vocab_size=config.vocab_size,
    )


def tokenizer_source(config: DataConfig) -> str:
    """Returns `sentencepiece`, which is trained, or the directory of a tokenizer.

    Raises: UserError: `openai` without the directory of its files.
    """
    if config.tokenizer != "openai":
        return config.tokenizer
    if not config.openai_bpe_dir:
        vocabulary, merges = openai_bpe.FILE_NAMES[0]
        raise UserError(
            f"config.data.tokenizer=openai, but config.data.openai_bpe_dir is empty; "
            f"the directory with {vocabulary} and {merges} of the release is "
            "expected; set it"
        )
    return config.openai_bpe_dir


def _texts_in(directory: Path) -> str:
    """The glob of a directory's text files."""
    return f"{glob.escape(str(directory))}/*.txt"


def make_recipe(
    pattern: str,
    *,
    eval_pattern: str,
    holdout_fraction: float,
    tokenizer: str,
    vocab_size: int,
) -> Recipe:
    """The recipe of a corpus whose books are found and split by documents.find.

    Raises: UserError, NotFound: as documents.find.
    """
    found = documents.find(pattern, eval_pattern, holdout_fraction)
    return Recipe(found, tokenizer, vocab_size)


def prepare(
    recipe: Recipe, directory: Path, workers: int = 0, *, dask: str = ""
) -> corpus.TokenStore:
    """The token store that `recipe` describes, in `directory`.

    Args:   workers: processes; 0: one for each core, at most 6. dask: the address of a
            scheduler whose workers encode instead, and see all paths.
    Raises: UserError: `directory` holds something else, or books without text.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    lock = directory.with_name(f".{directory.name}.lock")
    if _is_prepared(recipe, directory) and not partial.exists():
        return corpus.open_store(directory)
    with exclusive(lock):
        if not _is_prepared(recipe, directory):  # by the process that was waited for
            _begin(recipe, partial)
            tokenizer = _make_tokenizer(recipe, partial)
            counts = _encode_books(recipe, partial, workers, dask)
            _assemble(recipe, tokenizer, counts, partial)
            (partial / "store").replace(directory)
        shutil.rmtree(partial, ignore_errors=True)
        # A process that waits for the lock finds the store prepared.
        lock.unlink(missing_ok=True)
    return corpus.open_store(directory)


def _is_prepared(recipe: Recipe, directory: Path) -> bool:
    if corpus.is_store(directory):
        if corpus.open_store(directory).meta["key"] == recipe.key:
            return True
        raise UserError(
            f"{directory} holds a store of other books or settings; name another "
            "directory or delete it"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(
            f"{directory} exists and is not a token store; name another directory"
        )
    return False


def _begin(recipe: Recipe, partial: Path) -> None:
    """Makes the directory of unfinished work, keeping what belongs to `recipe`."""
    mark = partial / "key"
    if not mark.is_file() or mark.read_text() != recipe.key:
        shutil.rmtree(partial, ignore_errors=True)
        write_atomically(mark, recipe.key)
    shutil.rmtree(partial / "store", ignore_errors=True)


def _make_tokenizer(recipe: Recipe, partial: Path) -> tokenizers.Tokenizer:
    """Loads the tokenizer that the recipe names, or learns it from training books."""
    directory = partial / corpus.TOKENIZER_DIR
    if recipe.tokenizer != "sentencepiece":
        tokenizer = tokenizers.load(Path(recipe.tokenizer))
        tokenizer.save(directory)
    elif not tokenizers.is_tokenizer(directory):
        train = [book for book in recipe.books if book.split == "train"]
        terminal.say(f"learning a vocabulary of {recipe.vocab_size:,} pieces")
        began = time.monotonic()
        tokenizers.learn(documents.sample(train), recipe.vocab_size).save(directory)
        terminal.say(f"learnt in {terminal.duration(time.monotonic() - began)}")
    return tokenizers.load(directory)


def _encode_books(recipe: Recipe, partial: Path, workers: int, dask: str) -> list[int]:
    """Encodes every group of books into its own part; returns each book's tokens."""
    parts = partial / "parts"
    parts.mkdir(exist_ok=True)
    dtype = _dtype(tokenizers.load(partial / corpus.TOKENIZER_DIR).vocab_size)
    groups = _groups(recipe.books)
    todo = [n for n in range(len(groups)) if not _is_whole(parts, n, dtype)]
    sizes = [sum(book.num_bytes for book in group) for group in groups]
    if todo:
        began = time.monotonic()
        total = sum(sizes) / 1e6
        done = total - sum(sizes[n] for n in todo) / 1e6
        is_worth_processes = sum(sizes[n] for n in todo) >= _WORTH_PROCESSES_BYTES
        with (
            terminal.progress("encoding", total, done=done, unit="MB") as bar,
            executors.choose(
                workers, dask, is_worth_processes=is_worth_processes
            ) as pool,
        ):
            futures = {
                pool.submit(
                    encode_group,
                    [book.path.absolute() for book in groups[n]],
                    (partial / corpus.TOKENIZER_DIR).absolute(),
                    dtype,
                    _part(parts, n, "bin").absolute(),
                ): n
                for n in sorted(todo, key=lambda n: -sizes[n])
            }
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
                    bar.advance(sizes[futures[future]] / 1e6)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        seconds = time.monotonic() - began
        terminal.say(
            f"encoded {total - done:,.1f} MB in {terminal.duration(seconds)}, "
            f"{(total - done) / seconds:.2f} MB/s"
        )
    counts = [
        json.loads(_part(parts, n, "json").read_text()) for n in range(len(groups))
    ]
    return [count for group in counts for count in group]


def _part(parts: Path, number: int, ending: str) -> Path:
    return parts / f"{number:06d}.{ending}"


def _is_whole(parts: Path, number: int, dtype: str) -> bool:
    """Returns whether a part is complete: it has counts, and as many tokens."""
    tokens, counts = _part(parts, number, "bin"), _part(parts, number, "json")
    if not (tokens.is_file() and counts.is_file()):
        return False
    expected = sum(json.loads(counts.read_text())) * np.dtype(dtype).itemsize
    return tokens.stat().st_size == expected


def _groups(books: tuple[Book, ...]) -> list[list[Book]]:
    """Consecutive books, _GROUP_BYTES or one book at a time: what a worker takes."""
    groups: list[list[Book]] = []
    size = 0
    for book in books:
        if not groups or size + book.num_bytes > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(book)
        size += book.num_bytes
    return groups


def encode_group(
    paths: list[Path], tokenizer_dir: Path, dtype: str, output: Path
) -> None:
    """Writes the tokens of the books `paths` to `output`, their counts beside it.

    A function of its arguments alone: any process, on any machine that sees the files,
    may run it. The counts (.json) are written last and mark the part as done.
    """
    tokenizer = tokenizers.load(tokenizer_dir)
    counts = []
    # On a cluster processes of two machines may have one number.
    unfinished = output.with_name(f"{output.name}.{uuid.uuid4().hex}")
    try:
        with naming(output), unfinished.open("wb") as file:
            for path in paths:
                counts.append(0)
                for ids in _book_tokens(path, tokenizer):
                    file.write(ids.astype(dtype).tobytes())
                    counts[-1] += len(ids)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    write_atomically(output.with_suffix(".json"), json.dumps(counts))


def _book_tokens(path: Path, tokenizer: tokenizers.Tokenizer) -> Iterator[np.ndarray]:
    """The tokens of a book, piece by piece, as if it had been encoded in one."""
    newline = np.array([tokenizer.newline_id], np.uint32)
    begun, newline_due = False, False
    for piece, ends_line in clean.read_pieces(path):
        ids = tokenizer.encode(piece)
        if len(ids):
            if begun and (newline_due or piece[: -len(piece.lstrip())].count("\n")):
                yield newline
            yield ids
            begun, newline_due = True, "\n" in piece[len(piece.rstrip()) :]
        newline_due |= ends_line


def _dtype(vocab_size: int) -> str:
    return "uint16" if vocab_size <= 2**16 else "uint32"


def _assemble(
    recipe: Recipe, tokenizer: tokenizers.Tokenizer, counts: list[int], partial: Path
) -> None:
    """Joins the parts to a store in `partial`."""
    store, digest = partial / "store", hashlib.sha256()
    store.mkdir()
    tokens_path = store / corpus.TOKENS_FILE
    with naming(tokens_path), tokens_path.open("wb") as out:
        for part in sorted((partial / "parts").glob("*.bin")):
            with part.open("rb") as file:
                while block := file.read(1 << 24):
                    digest.update(block)
                    out.write(block)
    offsets = np.cumsum([0, *counts]).tolist()
    books = [
        {
            "name": book.path.name,
            "sha256": book.sha256,
            "bytes": book.num_bytes,
            "split": book.split,
            "offset": offset,
            "tokens": count,
        }
        for book, offset, count in zip(recipe.books, offsets, counts, strict=False)
    ]
    by_split = {
        split: sum(book["tokens"] for book in books if book["split"] == split)
        for split in ("train", "valid")
    }
    for split, tokens in by_split.items():
        if not tokens:
            raise UserError(
                f"the {split} books hold no text; every file is empty or blank; bring "
                "books with text"
            )
    with_text = sum(bool(b["tokens"]) for b in books if b["split"] == "train")
    meta = {
        "key": recipe.key,
        "dtype": _dtype(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "tokens": by_split,
        "empty_books": sum(not book["tokens"] for book in books),
        # Training windows cut the joined books: each seam lies in one window an epoch.
        "windows_across_books_per_epoch_at_most": with_text - 1,
        "tokens_sha256": digest.hexdigest(),
        "tokenizer_sha256": tokenizer.fingerprint,
        "books": books,
    }
    tokenizer.save(store / corpus.TOKENIZER_DIR)
    write_atomically(store / corpus.META_FILE, json.dumps(meta, indent=1))


def describe(store: corpus.TokenStore) -> str:
    """One line about a store, for the terminal."""
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
