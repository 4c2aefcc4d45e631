"""Files that other processes may read or write at the same time.

Atomic replacement, exclusive locks, checksums, and reading of JSON and JSON lines.
"""

import atexit
import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from gpt1_jax import terminal
from gpt1_jax.errors import UserError

_BLOCK_BYTES = 1 << 22


# Most file systems allow names of so many bytes.
_LONGEST_NAME = 255
# Errors of a file system that has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def write_atomically(path: Path, text: str) -> None:
    """Replaces `path` by a file with `text`; a reader sees all of it or none."""
    with atomic_file(path) as file:
        file.write(text)


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` by a file with `content`; a reader sees all of it or none."""
    with _replacement(path, "wb") as file:
        file.write(content)


def write_together(contents: dict[Path, bytes]) -> None:
    """Replaces several files; if one of them cannot be written, none is replaced."""
    parts = {
        path: hidden_beside(path.resolve(), f".{uuid.uuid4().hex}.part")
        for path in contents
    }
    try:
        for path, part in parts.items():
            part.parent.mkdir(parents=True, exist_ok=True)
            with naming(path), part.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            part.replace(path.resolve())
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


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
    part = hidden_beside(path, f".{uuid.uuid4().hex}.part")
    try:
        with naming(path), part.open(mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the block's own error says what is wrong
            part.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Returns once the names of new files in `directory` are on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not needed there
            raise
    finally:
        os.close(descriptor)


def hidden_beside(path: Path, suffix: str) -> Path:
    """Returns the path of a hidden file for `path`, in the same directory.

    Its name is that of `path`, or a hash of it where that would be too long.
    """
    name = f".{path.name}{suffix}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{suffix}"
    return path.with_name(name)


def check_name(path: Path, remedy: str) -> None:
    """Checks that the system allows the name of `path`, which may not exist yet.

    Raises: UserError: it or a part of it is too long; `remedy` says what to do.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(
                f"{path} cannot be made: {error.strerror}; names of at most "
                f"{_LONGEST_NAME} bytes in a path of at most 4,095 are expected; "
                f"{remedy}"
            ) from None


def check_writable(directory: Path, remedy: str) -> None:
    """Checks that files can be made in `directory`, which may not exist yet.

    Raises: UserError: they cannot; `remedy` says what to do.
    """
    check_name(directory, remedy)
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir():
        raise UserError(
            f"{directory} cannot be made, as {existing} is a file; a directory is "
            f"expected; {remedy}"
        )
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
    part = hidden_beside(path, f".{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.replace(path)
    except BaseException:
        # Threads of a failed save may write there until Python joins them at its end.
        atexit.register(shutil.rmtree, part, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path` over a block, and waits until it is free.

    The system frees it when the process that holds it ends in any way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        lock(file)
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


def lock(file: TextIO, *, waits: bool = True) -> None:
    """Locks an open file until it is closed; warns on a file system without locks.

    Raises: BlockingIOError: waits is not set, and another process has locked it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        terminal.warn(
            f"{Path(file.name).parent} is on a file system without locks "
            f"({error.strerror}); only one process at a time may write there; start no "
            "other command that uses it before this one ends"
        )


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
