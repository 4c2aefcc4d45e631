"""The books of a corpus: finding the files, splitting them, sampling their text.

It reads files and decides; it neither tokenises nor writes.
"""

import concurrent.futures
import dataclasses
import glob
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt1_jax.data import shuffle
from gpt1_jax.data.text import clean
from gpt1_jax.errors import NotFound, UserError

_SAMPLE_BYTES = 50_000_000
_SAMPLE_BLOCK_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Book:
    """A source file and the side of the split it is on."""

    path: Path
    sha256: str
    num_bytes: int
    is_blank: bool
    split: str  # train | valid


def find(pattern: str, eval_pattern: str, holdout_fraction: float) -> tuple[Book, ...]:
    """The books of a corpus, training books first.

    Without `eval_pattern`, a book is held out if the hash of its bytes, read as a
    fraction, is below `holdout_fraction`. So copies of a book stay on one side, and a
    growing corpus keeps its split. If no book with text is, that of least hash is.
    Raises: UserError, NotFound: see the messages.
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
                "trained on; narrow one of the two"
            )
    else:
        if len(_with_text(found)) < 2:
            raise UserError(
                f"{pattern!r} holds 1 book with text; at least 2 are needed, as one is "
                "held out; bring more books or name held-out ones with eval_corpus"
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
                f"{pattern!r}: all {len(_with_text(held_out))} books with text fall to "
                "the held-out side; lower holdout_fraction or bring more books"
            )
    return (*found, *held_out)


def _with_text(books: list[Book]) -> set[str]:
    """The hashes of the books that are not blank."""
    return {book.sha256 for book in books if not book.is_blank}


def _scan_books(pattern: str, split: str) -> list[Book]:
    """The files of a glob, in order of their paths, checked to be UTF-8."""
    expanded = os.path.expanduser(pattern)
    if Path(expanded).is_dir():
        expanded = os.path.join(glob.escape(expanded), "*.txt")
    paths = sorted(
        Path(name)
        for name in glob.glob(expanded, recursive=True)
        if Path(name).is_file()
    )
    if not paths:
        raise NotFound(
            f"no file matches {pattern!r}; a glob of UTF-8 text files, one book a "
            "file, is expected; quote it, and check the path"
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
    """At most _SAMPLE_BYTES of the books, in blocks chosen by a seeded shuffle."""
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
        # A block's ends may cut a character; a mark of byte order is no text.
        yield raw.decode("utf-8", errors="ignore").removeprefix("\ufeff")
