"""The books of a corpus: finding the files, splitting them, sampling their text.

It only reads files; it neither tokenizes nor writes.
"""

import concurrent.futures
import dataclasses
import glob
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt1_jax import terminal
from gpt1_jax.data import formats, shuffle
from gpt1_jax.data.text import clean
from gpt1_jax.errors import NotFound, UserError

_SAMPLE_BYTES = 50_000_000
_SAMPLE_BLOCK_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Book:
    """A source file and its side of the split."""

    path: Path
    sha256: str
    num_bytes: int
    is_blank: bool
    split: str  # train | valid


def find(pattern: str, eval_pattern: str, holdout_fraction: float) -> tuple[Book, ...]:
    """Returns the books of a corpus, training books first.

    Without `eval_pattern`, a book is held out if the hash of its bytes, read as a
    fraction, is below `holdout_fraction`. So copies of a book stay on one side, and a
    growing corpus keeps its split. The book with text that has the lowest hash is
    always held out.
    Raises: UserError, NotFound: a side has no books with text; a book is on both sides;
            a file is not UTF-8.
    """
    found = _scan_books(pattern, "train")
    if eval_pattern:
        held_out = _scan_books(eval_pattern, "valid")
        both = _with_text(found) & _with_text(held_out)
        if both:
            named = [str(book.path) for book in held_out if book.sha256 in both]
            raise UserError(
                f"{len(named)} of {len(held_out)} books of {eval_pattern!r} are also "
                f"in {pattern!r}, such as {named[0]}; held-out books must not be "
                "trained on; narrow one of the patterns"
            )
    else:
        if len(_with_text(found)) < 2:
            raise UserError(
                f"{pattern!r} holds 1 book with text; at least 2 are needed, as one is "
                "held out; add more books or name held-out ones with eval_corpus"
            )
        first = min(_with_text(found))
        held_out = [
            dataclasses.replace(book, split="valid")
            for book in found
            if int(book.sha256, 16) / 2**256 < holdout_fraction or book.sha256 == first
        ]
        taken = {book.path for book in held_out}
        found = [book for book in found if book.path not in taken]
        if not _with_text(found):
            raise UserError(
                f"{pattern!r}: all {len(_with_text(held_out))} books with text are "
                "held out; at least 1 must be left to train on; lower holdout_fraction "
                "or add more books"
            )
    return (*found, *held_out)


def _with_text(books: list[Book]) -> set[str]:
    """Returns the hashes of the books that are not blank."""
    return {book.sha256 for book in books if not book.is_blank}


def _scan_books(pattern: str, split: str) -> list[Book]:
    """Returns the books of a glob in order of their paths; each must be UTF-8."""
    expanded = os.path.expanduser(pattern)
    if Path(expanded).is_dir():
        expanded = os.path.join(glob.escape(expanded), "*.txt")
    paths = sorted(
        Path(name)
        for name in glob.glob(expanded, recursive=True)
        if Path(name).is_file()
    )
    leftovers = [path for path in paths if formats.is_leftover(path)]
    if leftovers:
        terminal.warn(
            f"{pattern}: {len(leftovers):,} files that a system or an editor left are "
            f"not read, such as {leftovers[0]}"
        )
        paths = [path for path in paths if not formats.is_leftover(path)]
    if not paths:
        raise NotFound(
            f"no file matches {pattern!r}; a glob of UTF-8 text files, one book a "
            "file, is expected; quote it, and check the path"
        )
    for path in paths:
        found = formats.detect(path)
        if found != formats.Format(formats.TEXT, ""):
            raise UserError(
                f"{path} is {found}; books are plain text; convert it to a .txt file, "
                "or leave it out"
            )
    with concurrent.futures.ThreadPoolExecutor() as pool:
        scans = list(pool.map(clean.scan, paths))
    books = [Book(path, *scan, split) for path, scan in zip(paths, scans, strict=True)]
    if not _with_text(books):
        raise UserError(
            f"{pattern!r}: all {len(books)} files are empty or blank; books with text "
            "are expected; check the path"
        )
    return books


def sample(books: list[Book]) -> Iterator[str]:
    """Yields at most _SAMPLE_BYTES of the books, in blocks that a hash chooses."""
    blocks = [
        (book, start)
        for book in books
        for start in range(0, book.num_bytes, _SAMPLE_BLOCK_BYTES)
    ]
    sizes = np.array(
        [min(book.num_bytes - start, _SAMPLE_BLOCK_BYTES) for book, start in blocks]
    )
    chosen = shuffle.permutation(len(blocks), 0)
    for number in np.sort(chosen[np.cumsum(sizes[chosen]) <= _SAMPLE_BYTES]):
        book, start = blocks[number]
        with book.path.open("rb") as file:
            file.seek(start)
            raw = file.read(_SAMPLE_BLOCK_BYTES)
        # A block may begin or end within a character. A byte-order mark is not text.
        yield raw.decode("utf-8", errors="ignore").removeprefix("\ufeff")
