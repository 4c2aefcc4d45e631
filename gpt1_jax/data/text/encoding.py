"""The encoding of books into parts: files of tokens, one for each group of books.

Groups are encoded in any order, by one thread, local processes or a Dask cluster; the
parts do not depend on it. A part that is complete is not encoded again.
"""

import concurrent.futures
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from gpt1_jax import terminal
from gpt1_jax.data.text import clean, executors, tokenizers
from gpt1_jax.data.text.documents import Book
from gpt1_jax.errors import UserError
from gpt1_jax.files import naming, write_atomically

_GROUP_BYTES = 4 << 20
# Below this, starting processes takes longer than the work.
_WORTH_PROCESSES_BYTES = 8 << 20


def token_dtype(vocab_size: int) -> str:
    """Returns the type of a stored token."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def encode_books(
    books: tuple[Book, ...],
    parts: Path,
    tokenizer_dir: Path,
    *,
    workers: int,
    dask: str,
) -> list[int]:
    """Writes the tokens of all books as files in `parts`, whose names give their order.

    Args:    workers, dask: as executors.choose.
    Returns: the number of tokens of each book.
    """
    parts.mkdir(exist_ok=True)
    dtype = token_dtype(tokenizers.load(tokenizer_dir).vocab_size)
    groups = dict(enumerate(_make_groups(books)))
    todo = {
        number: group
        for number, group in groups.items()
        if not _is_complete(parts, number, dtype)
    }
    if todo:
        total, left = _num_bytes(groups.values()), _num_bytes(todo.values())
        began = time.monotonic()
        with (
            terminal.progress(
                "encoding", total / 1e6, done=(total - left) / 1e6, unit="MB"
            ) as bar,
            executors.choose(
                workers, dask, is_worth_processes=left >= _WORTH_PROCESSES_BYTES
            ) as pool,
        ):
            _encode_groups(
                todo,
                parts,
                tokenizer_dir=tokenizer_dir,
                dtype=dtype,
                pool=pool,
                when_done=lambda group: bar.advance(_num_bytes([group]) / 1e6),
            )
        seconds = time.monotonic() - began
        terminal.say(
            f"encoded {left / 1e6:,.1f} MB in {terminal.duration(seconds)}, "
            f"{left / 1e6 / seconds:.2f} MB/s"
        )
    counts = [json.loads(_part(parts, n, "json").read_text()) for n in groups]
    return [count for group in counts for count in group]


def _num_bytes(groups: Iterable[list[Book]]) -> int:
    return sum(book.num_bytes for group in groups for book in group)


def _encode_groups(
    groups: dict[int, list[Book]],
    parts: Path,
    *,
    tokenizer_dir: Path,
    dtype: str,
    pool: concurrent.futures.Executor,
    when_done: Callable[[list[Book]], None],
) -> None:
    """Encodes groups in `pool`, the largest first."""
    largest_first = sorted(groups.items(), key=lambda item: -_num_bytes([item[1]]))
    futures = {
        pool.submit(
            encode_group,
            [(book.path.absolute(), book.sha256) for book in group],
            tokenizer_dir.absolute(),
            dtype,
            _part(parts, number, "bin").absolute(),
        ): group
        for number, group in largest_first
    }
    try:
        for future in concurrent.futures.as_completed(futures):
            future.result()
            when_done(futures[future])
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _part(parts: Path, number: int, ending: str) -> Path:
    return parts / f"{number:06d}.{ending}"


def _is_complete(parts: Path, number: int, dtype: str) -> bool:
    """Returns whether a part has its counts, and as many tokens as they say."""
    tokens, counts = _part(parts, number, "bin"), _part(parts, number, "json")
    if not (tokens.is_file() and counts.is_file()):
        return False
    expected = sum(json.loads(counts.read_text())) * np.dtype(dtype).itemsize
    return tokens.stat().st_size == expected


def _make_groups(books: tuple[Book, ...]) -> list[list[Book]]:
    """Returns groups of consecutive books of at most _GROUP_BYTES, or of one book."""
    groups: list[list[Book]] = []
    size = 0
    for book in books:
        if not groups or size + book.num_bytes > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(book)
        size += book.num_bytes
    return groups


class BookChanged(UserError):
    """A book has other bytes than when the corpus was scanned."""

    def __init__(self, path: Path | str):
        super().__init__(
            f"{path} changed while the corpus was read; files that stay as they are "
            "are expected; wait until nothing writes there, then run the same command "
            "again"
        )
        self._path = path

    def __reduce__(self) -> tuple[type, tuple[Path | str]]:
        # Workers send it to this process by pickling it.
        return type(self), (self._path,)


def check_unchanged(books: Iterable[Book]) -> None:
    """Raises BookChanged if a book has other bytes than when it was scanned."""
    for book in books:
        with book.path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != book.sha256:
                raise BookChanged(book.path)


def encode_group(
    sources: list[tuple[Path, str]], tokenizer_dir: Path, dtype: str, output: Path
) -> None:
    """Writes the tokens of some books to `output`, and their counts beside it.

    It depends on its arguments alone, so any process on any machine that sees the files
    may run it. The counts (.json) are written last: they mark the part as complete.
    Args:   sources: path and sha256 of each book.
    Raises: BookChanged: a file has another sha256.
    """
    tokenizer = tokenizers.load(tokenizer_dir)
    counts = []
    # Processes on two machines of a cluster may have the same process number.
    unfinished = output.with_name(f"{output.name}.{uuid.uuid4().hex}")
    try:
        with naming(output), unfinished.open("wb") as file:
            for path, sha256 in sources:
                counts.append(0)
                for ids in _encode_book(path, sha256, tokenizer):
                    file.write(ids.astype(dtype).tobytes())
                    counts[-1] += len(ids)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    write_atomically(output.with_suffix(".json"), json.dumps(counts))


def _encode_book(
    path: Path, sha256: str, tokenizer: tokenizers.Tokenizer
) -> Iterator[np.ndarray]:
    """Yields the tokens of a book in pieces; joined, they are those of its text.

    Raises: BookChanged: the bytes that were read have another sha256.
    """
    digest = hashlib.sha256()
    try:
        yield from _encode_pieces(clean.read_pieces(path, digest=digest), tokenizer)
    except UnicodeDecodeError:  # it was UTF-8 when it was scanned
        raise BookChanged(path) from None
    if digest.hexdigest() != sha256:
        raise BookChanged(path)


def _encode_pieces(
    pieces: Iterable[tuple[str, bool]], tokenizer: tokenizers.Tokenizer
) -> Iterator[np.ndarray]:
    newline = np.array([tokenizer.newline_id], np.uint32)
    has_tokens, newline_due = False, False
    for piece, ends_line in pieces:
        ids = tokenizer.encode(piece)
        if len(ids):
            starts_line = "\n" in piece[: -len(piece.lstrip())]
            if has_tokens and (newline_due or starts_line):
                yield newline
            yield ids
            has_tokens, newline_due = True, "\n" in piece[len(piece.rstrip()) :]
        newline_due |= ends_line
