"""The documents of a file, one at a time, whatever its format.

A document is a file, a line, a block between blank lines, or a record of a table. A
text of any size is read in pieces. This module neither splits nor tokenizes.
"""

import collections
import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gpt1_jax.data import formats, tables
from gpt1_jax.data.text import boilerplate, clean
from gpt1_jax.errors import UserError

FILE, LINE, BLANK_LINE, RECORD = "file", "line", "blank_line", "record"
_COLUMN_FLAG = "--text_column (config.data.text_column)"
# The documents of a file are checked and encoded in chunks of about this size.
_CHUNK_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 20

Pieces = Iterator[tuple[str, bool]]


class Document(NamedTuple):
    """A document: its text in pieces, as of clean.read_pieces, and its hash."""

    pieces: Pieces
    # sha256 of the document's UTF-8 bytes, complete once the pieces have been read
    digest: Any


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How the documents of a file are read."""

    kind: str  # of formats
    unit: str  # file | line | blank_line | record
    column: str  # of a table; "": `text`, or the only column
    strips_boilerplate: bool  # licences and front matter are cut


class Chunk(NamedTuple):
    """Consecutive documents of a file."""

    first: int
    number: int
    size: int  # in bytes of UTF-8
    sha256: str  # of a file that is a document; else of the documents' hashes


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of a corpus, as it was when it was scanned."""

    path: Path
    options: ReadOptions
    chunks: tuple[Chunk, ...]
    split: str = "train"  # train | valid | "" (each document has its own)
    # what boilerplate.cut counted; nothing for a file that is a document
    cut: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """The size of the documents, in bytes of UTF-8."""
        return sum(chunk.size for chunk in self.chunks)

    @property
    def num_documents(self) -> int:
        """The number of documents, with empty ones."""
        return sum(chunk.number for chunk in self.chunks)

    @property
    def sha256(self) -> str:
        """The hash of the content; of a file that is one document, of its bytes."""
        if len(self.chunks) == 1:
            return self.chunks[0].sha256
        joined = "".join(chunk.sha256 for chunk in self.chunks)
        return hashlib.sha256(joined.encode()).hexdigest()


def hash64(digest: bytes) -> int:
    """Returns the first 64 bits of a document's hash, which decide its split."""
    return int.from_bytes(digest[:8], "big")


def read(
    path: Path, options: ReadOptions, counts: collections.Counter[str] | None = None
) -> Iterator[Document]:
    """Yields the documents of a file; each is to be read before the next.

    Args:   counts: gets what is cut, as boilerplate.cut.
    Raises: UserError naming file and line or row.
    """
    counts = collections.Counter() if counts is None else counts

    def text_of(pieces: Pieces) -> Pieces:
        if not options.strips_boilerplate:
            return pieces
        return boilerplate.cut(
            pieces, counts, is_markdown=boilerplate.is_markdown(path)
        )

    if options.unit == FILE:
        digest = hashlib.sha256()
        yield Document(text_of(_file_pieces(path, digest)), digest)
    elif options.unit == RECORD:
        column = options.column
        for text in tables.stream_texts(
            path, options.kind, column, _COLUMN_FLAG, allows_null=True
        ):
            pieces, digest = _in_memory(text)
            yield Document(text_of(pieces), digest)
    else:
        lines = (
            line
            for piece, _ in text_of(_line_pieces(path))
            for line in piece.split("\n")
        )
        texts = lines if options.unit == LINE else _blocks(lines)
        yield from (Document(*_in_memory(text)) for text in texts)


def _in_memory(text: str) -> tuple[Pieces, Any]:
    # JSON may hold halves of surrogate pairs, which cleaning replaces.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    text = text.removeprefix("\ufeff")
    return clean.read_pieces(io.StringIO(text, newline=None)), digest


class _HashedFile(io.RawIOBase):
    """The bytes of a file, hashed as they are read."""

    def __init__(self, file: BinaryIO, digest: Any):
        self._file, self._digest = file, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        self._digest.update(block)
        buffer[: len(block)] = block
        return len(block)


def _file_pieces(path: Path, digest: Any) -> Pieces:
    """Yields the pieces of a text file; updates `digest` with its bytes."""
    with formats.open_binary(path) as file:
        hashed = io.BufferedReader(_HashedFile(file, digest), _BUFFER_BYTES)
        yield from clean.read_pieces(io.TextIOWrapper(hashed, encoding="utf-8-sig"))


def _line_pieces(path: Path) -> Pieces:
    """Yields the lines of a text file, many of them joined."""
    lines: list[str] = []
    size = 0
    for _, line in tables.read_lines(path, keeps_blank=True):
        lines.append(line)
        size += len(line)
        if size >= _BUFFER_BYTES:
            yield "\n".join(lines), True
            lines, size = [], 0
    if lines:
        yield "\n".join(lines), True


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    """Yields the blocks of lines between blank ones."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def scan(path: Path, options: ReadOptions) -> tuple[Source, np.ndarray]:
    """Reads a file once.

    Returns: the file as a source; hash64 of each document that is not blank.
    Raises:  UserError naming what cannot be read.
    """
    if options.unit == FILE:
        sha256, size, is_blank = clean.scan(path)
        of_text = [] if is_blank else [hash64(bytes.fromhex(sha256))]
        source = Source(path, options, (Chunk(0, 1, size, sha256),))
        return source, np.array(of_text, np.uint64)
    chunks: list[Chunk] = []
    hashes = np.empty(1024, np.uint64)
    num_hashes = count = size = 0
    digests = hashlib.sha256()

    def close_chunk() -> None:
        first = chunks[-1].first + chunks[-1].number if chunks else 0
        chunks.append(Chunk(first, count, size, digests.hexdigest()))

    cut: collections.Counter[str] = collections.Counter()
    for document in read(path, options, cut):
        is_blank = True
        for piece, _ in document.pieces:
            size += (
                len(piece) if piece.isascii() else len(piece.encode(errors="replace"))
            )
            is_blank = is_blank and not piece.strip()
        count += 1
        digest = document.digest.digest()
        digests.update(digest)
        if not is_blank:
            if num_hashes == len(hashes):
                hashes = np.concatenate([hashes, np.empty_like(hashes)])
            hashes[num_hashes] = hash64(digest)
            num_hashes += 1
        if size >= _CHUNK_BYTES:
            close_chunk()
            count, size, digests = 0, 0, hashlib.sha256()
    if count or not chunks:
        close_chunk()
    source = Source(path, options, tuple(chunks), cut=cut)
    return source, hashes[:num_hashes].copy()


def check_readable(path: Path, kind: str, unit: str) -> None:
    """Raises a UserError where a file of this kind has no such documents."""
    is_table = kind in formats.TABLES
    if is_table != (unit == RECORD):
        units = RECORD if is_table else f"{FILE}, {LINE} or {BLANK_LINE}"
        raise UserError(
            f"data.documents={unit}, but {path} is {kind}; a document of it is a "
            f"{units}; use data.documents=auto, or name other files"
        )
