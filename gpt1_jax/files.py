"""Files that other processes may read or write at the same time.

Atomic replacement, exclusive locks, checksums, and reading of JSON and JSON lines.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import shutil
import stat
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from gpt1_jax.errors import UserError

_BLOCK_BYTES = 1 << 22


def write_atomically(path: Path, text: str) -> None:
    """Replaces `path` by a file with `text`; a reader sees all of it or none."""
    with atomic_file(path) as file:
        file.write(text)


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` by a file with `content`; a reader sees all of it or none."""
    with _replacement(path, "wb") as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
    """Yields a text file that replaces `path` if the block succeeds."""
    with _replacement(path, "w", encoding="utf-8") as file:
        yield file


@contextlib.contextmanager
def _replacement(path: Path, mode: str, encoding: str | None = None) -> Iterator[Any]:
    """Yields a temporary file that is renamed to `path` if the block succeeds.

    A link is followed; a device or a pipe is opened and written as it is.
    """
    if is_special(path):
        with naming(path), path.open(mode, encoding=encoding) as file:
            yield file
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with naming(path), part.open(mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(directory: Path, remedy: str) -> None:
    """Checks that files can be made in `directory`, which may not exist yet.

    Raises: UserError: they cannot; `remedy` says what to do.
    """
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir():
        return  # making the directory fails, and says so
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"{directory} cannot be written; a directory that can is expected; {remedy}"
        )


def is_special(path: Path) -> bool:
    """Returns whether `path` is a device, a pipe or a socket."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds `path` to an OSError that names no file, such as a full disk's."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.add_note(f"while writing {path}")
        raise


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields a directory that becomes `path` if the block succeeds.

    `path` must not exist, or be an empty directory.
    """
    path = path.absolute()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path` over a block, and waits until it is free.

    The system frees it when the process that holds it ends in any way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def files_under(directory: Path) -> dict[str, Path]:
    """Returns the files under `directory` by their relative path; no other is read."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in paths}


def sums(paths: dict[str, Path]) -> dict[str, list[int]]:
    """Returns size and CRC of each file, read in parallel: zlib releases the GIL."""
    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = pool.map(_size_and_crc, paths.values())
        return dict(zip(paths, found, strict=True))


def _size_and_crc(path: Path) -> list[int]:
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


def parse_json(text: str | bytes) -> Any:
    """Returns the value of `text`; ValueError also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_rows(path: Path, *, is_strict: bool = False) -> list[dict[str, Any]]:
    """Returns the rows of a JSON lines file up to the first damaged line.

    A row is an object with a `step`. A process that is killed leaves a torn last line.
    Raises: UserError: is_strict is set, and a line before the last is damaged.
    """
    rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            if is_strict and number < len(lines):
                raise UserError(
                    f"{path}: line {number} is not the row of a step; a JSON object "
                    "with a step is expected; restore the file, or remove the line"
                )
            break
        rows.append(row)
    return rows


def expand(path: str | Path) -> Path:
    """Returns `path` with a leading ~ replaced by the home directory.

    Raises: UserError: there is no such user, or no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path}: {error}; ~ stands for a home directory; write the path without ~"
        ) from None
