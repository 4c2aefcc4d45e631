"""Formats of the user's files, told by name and content, and their bytes.

A file is plain text, csv, tsv, JSON Lines, parquet or Arrow, as it is or compressed by
gzip or zstd. A file whose name and content disagree is refused; so is any other format.
What the rows of a file mean is for its readers.
"""

import contextlib
import dataclasses
import gzip
import io
import shlex
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import expand, parse_json

TEXT, CSV, TSV, JSONL = "text", "csv", "tsv", "JSON Lines"
PARQUET, ARROW = "parquet", "Arrow"
TABLES = (CSV, TSV, JSONL, PARQUET, ARROW)
STANDARD_INPUT = "-"

_KINDS = {
    ".csv": CSV,
    ".tsv": TSV,
    ".tab": TSV,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".json": JSONL,
    ".parquet": PARQUET,
    ".arrow": ARROW,
}
MARKDOWN_SUFFIXES = (".md", ".markdown")
# Suffixes of files of text and of records, which a corpus is made of.
CORPUS_SUFFIXES = (
    ".txt",
    *MARKDOWN_SUFFIXES,
    *(suffix for suffix, kind in _KINDS.items() if kind in (JSONL, PARQUET, ARROW)),
)
_GZIP, _ZSTD = "gzip", "zstd"
_COMPRESSIONS = {".gz": _GZIP, ".gzip": _GZIP, ".zst": _ZSTD, ".zstd": _ZSTD}
_COMPRESSION_MARKS = {b"\x1f\x8b": _GZIP, b"\x28\xb5\x2f\xfd": _ZSTD}
# The first bytes of the binary formats; Arrow has a stream and a file format.
_BINARY_MARKS = {b"PAR1": PARQUET, b"\xff\xff\xff\xff": ARROW, b"ARROW1": ARROW}
# Formats that are refused: the first bytes, the name, the remedy for FILE.
_REFUSED = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or save it as csv"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save it as csv or plain text"),
    (b"BZh", "compressed by bzip2", "unpack it with `bunzip2 FILE`"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it with `unxz FILE`"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"%PDF", "a PDF", "convert it to plain text"),
    (b"{\\rtf", "rich text", "save it as plain text"),
    (b"\x89PNG", "a picture", "name another file"),
    (b"SQLite format 3", "a database", "export a csv of it"),
)
# Marks of byte order; UTF-32's begin as UTF-16's do.
_UTF_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_HEAD_BYTES = 1 << 16

# Files that macOS, Windows and editors leave beside data.
_LEFTOVER_NAMES = {"thumbs.db", "desktop.ini", "icon\r"}
_LEFTOVER_ENDINGS = ("~", ".swp", ".swo", ".bak", ".tmp", ".part", ".crdownload")


@dataclasses.dataclass(frozen=True)
class Format:
    """What a file holds, and how it is compressed."""

    kind: str  # text | csv | tsv | JSON Lines | parquet | Arrow
    compression: str  # "" | gzip | zstd

    def __str__(self) -> str:
        """Returns words for messages: `csv, gzip`."""
        return ", ".join(filter(None, (self.kind, self.compression)))


def is_leftover(path: Path) -> bool:
    """Returns whether `path` is a file that a system or an editor left beside data."""
    name = path.name.lower()
    return (
        name.startswith((".", "~$"))
        or (name.startswith("#") and name.endswith("#"))
        or name in _LEFTOVER_NAMES
        or name.endswith(_LEFTOVER_ENDINGS)
        or "__MACOSX" in path.parts
    )


def detect(path: Path) -> Format:
    """Returns the format of a file.

    The name decides between formats that are text; content must not contradict it. A
    name without a suffix, as of standard input, says nothing: the content decides.
    Raises: UserError, NotFound: no file, a format that is not read, a contradiction.
    """
    if not path.is_file():
        what = "a directory" if path.is_dir() else "not there"
        raise NotFound(f"{path} is {what}; a file is expected; check the path")
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    named_compression = _COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    if named_compression:
        suffixes.pop()
    named = _KINDS.get(suffixes[-1], TEXT) if suffixes else TEXT
    with path.open("rb") as file:
        compression = _compression(file.read(8))
    if named_compression and compression != named_compression:
        found = compression or "not compressed"
        raise UserError(
            f"{path} is named as {named_compression}, but is {found}; the name must "
            "match the content; rename it, or copy it again"
        )
    with open_binary(path) as file:
        head = file.read(_HEAD_BYTES)
    _refuse_unreadable(path, head)
    found_kind = _kind(head)
    if not suffixes:
        named = found_kind or TEXT
    if found_kind and found_kind != named:
        raise UserError(
            f"{path} is named as {named}, but holds {found_kind}; the name must "
            f"match the content; rename it to "
            f"{_renamed(path, found_kind)}"
        )
    if named in _BINARY_MARKS.values() and not found_kind:
        marks = " or ".join(
            repr(m)[2:-1] for m, k in _BINARY_MARKS.items() if k == named
        )
        raise UserError(
            f"{path} is named as {named}, but is not; a file that begins with {marks} "
            "is expected; rename it, or write it again"
        )
    return Format(named, compression)


def _compression(head: bytes) -> str:
    """Returns the compression that the first bytes of a file show."""
    marks = _COMPRESSION_MARKS.items()
    return next((name for mark, name in marks if head.startswith(mark)), "")


def _kind(head: bytes) -> str:
    """Returns the kind that the first bytes of a file show, or "" for other text."""
    for mark, kind in _BINARY_MARKS.items():
        if head.startswith(mark):
            return kind
    first, ends, _ = head.lstrip(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if not first.startswith(b"{"):
        return ""
    try:
        is_object = isinstance(parse_json(first), dict)
    except ValueError:
        # The first line of a file may be longer than what was read of it.
        is_object = not ends and len(head) == _HEAD_BYTES and first.startswith(b'{"')
    return JSONL if is_object else ""


def _refuse_unreadable(path: Path, head: bytes) -> None:
    """Raises a UserError for content that is no UTF-8 text and of no binary format."""
    for mark, what, remedy in _REFUSED:
        if head.startswith(mark):
            raise UserError(
                f"{path} is {what}; {_ALLOWED} is expected; "
                f"{remedy.replace('FILE', shlex.quote(str(path)))}"
            )
    encoding = _wide_encoding(head)
    if encoding:
        raise UserError(
            f"{path} is {encoding}; UTF-8 is expected; convert it with "
            f"{iconv(path, encoding)}"
        )
    if b"\0" in head and not head.startswith(tuple(_BINARY_MARKS)):
        raise UserError(f"{path} is binary; {_ALLOWED} is expected; name another file")


_ALLOWED = "plain text, csv, tsv, JSON Lines or parquet, as it is, as .gz or as .zst,"


def _wide_encoding(head: bytes) -> str:
    """Returns UTF-16 or UTF-32 where the first bytes show it, else ""."""
    for mark, encoding in _UTF_MARKS:
        if head.startswith(mark):
            return encoding
    # Text of Western languages has a zero in every other byte.
    sample = head[: len(head) // 2 * 2]
    for start, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros, others = sample[start::2], sample[1 - start :: 2]
        if len(zeros) > 4 and zeros.count(0) > 0.9 * len(zeros) and 0 not in others:
            return encoding
    return ""


def _renamed(path: Path, kind: str) -> str:
    """Returns the name that `path` should have for what it holds."""
    suffix = next(suffix for suffix, named in _KINDS.items() if named == kind)
    tail = ""
    if path.suffix.lower() in _COMPRESSIONS:
        path, tail = path.with_suffix(""), path.suffix
    return f"{path.stem}{suffix}{tail}"


def not_utf8(path: Path, where: str, raw: bytes) -> UserError:
    """Returns the error for bytes of `path` that are not UTF-8.

    Args: where: place and value, as "line 3: byte 0xe9". raw: what is not UTF-8.
    """
    try:
        raw.decode("cp1252")
        encoding = "WINDOWS-1252"
    except UnicodeDecodeError:
        encoding = "ISO-8859-1"
    return UserError(
        f"{path}: {where} is not UTF-8; UTF-8 is expected; convert it, perhaps with "
        f"{iconv(path, encoding)}"
    )


def iconv(path: Path, encoding: str) -> str:
    """Returns the command that writes a UTF-8 copy of `path` beside it."""
    new = path.with_name(f"{path.stem}.utf8{path.suffix}")
    source, copy = (shlex.quote(str(name)) for name in (path, new))
    return f"`iconv -f {encoding} -t UTF-8 {source} > {copy}`"


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Opens the bytes of a file over a block, decompressed by what its content shows.

    Raises: UserError where a compressed file is damaged or ends early.
    """
    with path.open("rb") as file:
        compression = _compression(file.read(8))
        file.seek(0)
        if not compression:
            yield file
            return
        try:
            with _decompressed(file, compression) as inner:
                yield inner
        except (EOFError, zlib.error, gzip.BadGzipFile, _DamagedZstd) as error:
            raise UserError(
                f"{path}: its {compression} data is damaged or ends early ({error}); a "
                "whole file is expected; copy it again"
            ) from None


@contextlib.contextmanager
def open_seekable(path: Path) -> Iterator[BinaryIO]:
    """Opens the bytes of a file as open_binary does, for readers that seek.

    What is compressed is unpacked to a temporary file.
    """
    with open_binary(path) as file:
        if isinstance(getattr(file, "raw", None), io.FileIO):
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            yield copy


def stem_suffix(path: Path) -> str:
    """Returns the suffix of a name in lower case, without that of a compression."""
    if path.suffix.lower() in _COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix.lower()


class _DamagedZstd(Exception):
    """Compressed bytes that pyarrow cannot read."""


class _ZstdReader(io.RawIOBase):
    """The decompressed bytes of a zstd file, with pyarrow's errors told apart."""

    def __init__(self, file: BinaryIO):
        # Importing pyarrow takes a third of a second, and few files need it.
        import pyarrow

        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._stream.read(len(buffer))
        except OSError as error:
            raise _DamagedZstd(str(error)) from None
        buffer[: len(block)] = block
        return len(block)


def _decompressed(file: BinaryIO, compression: str) -> BinaryIO:
    if compression == _GZIP:
        return gzip.open(file)  # type: ignore[return-value]
    return io.BufferedReader(_ZstdReader(file), 1 << 20)


@contextlib.contextmanager
def local_file(given: str) -> Iterator[Path]:
    """Returns over a block the path of a file with the contents of `given`.

    Standard input (`-`) and pipes are copied to a temporary file, since their readers
    read them twice.
    Raises: NotFound: there is no such file.
    """
    path = expand(given)
    is_standard_input = given == STANDARD_INPUT
    if not is_standard_input and not path.exists():
        raise NotFound(f"no file {path}; a file is expected; check the path")
    if not is_standard_input and not stat.S_ISFIFO(path.stat().st_mode):
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / ("standard_input" if is_standard_input else path.name)
        with contextlib.ExitStack() as stack:
            source = sys.stdin.buffer
            if not is_standard_input:
                source = stack.enter_context(path.open("rb"))
            shutil.copyfileobj(source, stack.enter_context(copy.open("wb")))
        yield copy
