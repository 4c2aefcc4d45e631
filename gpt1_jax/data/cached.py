"""Data that is written to the cache when first needed: storyworld, TFDS's texts."""

import contextlib
import functools
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from gpt1_jax import files, storyworld, terminal
from gpt1_jax.config import DataConfig
from gpt1_jax.data.formats import is_leftover
from gpt1_jax.data.tasks import tfds
from gpt1_jax.errors import UserError
from gpt1_jax.files import atomic_directory, exclusive, naming

# Size, CRC, mtime_ns and inode of each file of a cached directory.
_MANIFEST_FILE = ".manifest.json"
# A TFDS text of at least this length is a book.
_BOOK_CHARACTERS = 50_000
# Shorter texts share files of about this size.
_FILE_CHARACTERS = 4_000_000
# The first of these splits that a TFDS corpus has is held out.
_HELD_OUT_SPLITS = ("validation", "test")
# An environment variable that replaces the default of config.data.cache_dir.
CACHE_VARIABLE = "GPT1_JAX_CACHE_DIR"
CACHE_REMEDY = (
    f"set --config.data.cache_dir=DIR, or {CACHE_VARIABLE}=DIR in the environment"
)


def root(cache_dir: str) -> Path:
    """Returns the directory that a config.data.cache_dir stands for.

    Raises: UserError: it is below a home directory, and there is none.
    """
    if cache_dir == DataConfig.cache_dir:
        cache_dir = os.environ.get(CACHE_VARIABLE) or cache_dir
    try:
        return files.expand(cache_dir)
    except UserError:
        raise UserError(
            f"{cache_dir}: this user has no home directory; a directory for prepared "
            f"data is needed; {CACHE_REMEDY}"
        ) from None


def storyworld_books(config: DataConfig) -> Path:
    """The directory of storyworld's books."""
    seed, megabytes = config.storyworld_seed, config.storyworld_megabytes
    return _written(
        config,
        f"storyworld/v{storyworld.VERSION}-seed{seed}-{megabytes}mb/books",
        f"storyworld: writing {megabytes} MB of synthetic books",
        lambda part: storyworld.write_books(part, seed=seed, megabytes=megabytes),
    )


def storyworld_tasks(config: DataConfig) -> Path:
    """The directory of storyworld's tasks, in the official layouts."""
    seed = config.storyworld_seed
    return _written(
        config,
        f"storyworld/v{storyworld.VERSION}-seed{seed}/tasks",
        "storyworld: writing synthetic tasks",
        lambda part: storyworld.write_tasks(part, seed=seed),
    )


def tfds_books(config: DataConfig, name: str) -> dict[str, Path]:
    """Writes a data set of texts that TFDS prepared as files.

    A long text, such as a book of PG-19, is a file; short texts, such as the sentences
    of lm1b, are lines of shared files.
    Returns: the directories of the training split and, if there is one, of the held-out
             split: validation, or else test.
    Raises:  UserError, NotFound: as tfds.texts; there is no training split.
    """
    identity, splits = tfds.describe(name, config.tfds_dir)
    if not splits.get("train"):
        found = ", ".join(splits) or "no split"
        raise UserError(
            f"config.data.corpus=tfds:{name} has texts in {found}; "
            "a split train with texts is expected; name another data set"
        )

    def write(split: str, part: Path) -> None:
        write_books(part, tfds.texts(name, split, config.tfds_dir))

    held_out = next((split for split in _HELD_OUT_SPLITS if splits.get(split)), None)
    return {
        split: _written(
            config,
            f"tfds/{identity}/{split}",
            f"tfds: writing {terminal.counted(splits[split], 'text')} of {name}, "
            f"{split}, as files",
            functools.partial(write, split),
        )
        for split in ("train", held_out)
        if split
    }


def write_books(directory: Path, texts: Iterable[str]) -> None:
    """Writes each long text as a file, and short texts as lines of shared files."""
    numbers = itertools.count()
    lines: list[str] = []
    size = 0

    def write(text: str) -> None:
        path = directory / f"{next(numbers):07d}.txt"
        path.write_text(text, encoding="utf-8")

    def flush() -> None:
        nonlocal size
        if lines:
            write("".join(f"{line}\n" for line in lines))
        lines.clear()
        size = 0

    for text in texts:
        if len(text) >= _BOOK_CHARACTERS:
            write(text)
            continue
        lines.append(" ".join(text.splitlines()))
        size += len(text)
        if size >= _FILE_CHARACTERS:
            flush()
    flush()


def _written(
    config: DataConfig, name: str, message: str, write: Callable[[Path], None]
) -> Path:
    """Returns the directory `name` of the cache; one process writes it, once.

    A directory that has lost or changed files since is written again.
    """
    directory = root(config.cache_dir) / name
    if _is_whole(directory):  # perhaps in a cache that others wrote
        return directory
    if directory.is_dir():
        terminal.warn(
            f"{directory} has lost or changed files since it was written; "
            "it is being written again"
        )
    files.check_writable(directory.parent, CACHE_REMEDY)
    with exclusive(directory.with_name(f".{directory.name}.lock")):
        if not _is_whole(directory):
            terminal.say(message)
            for killed in directory.parent.glob(f".{directory.name}.*.part"):
                shutil.rmtree(killed)
            with naming(directory), atomic_directory(directory) as part:
                write(part)
                _write_manifest(part, _entries(_contents(part), {}))
                shutil.rmtree(directory, ignore_errors=True)
    return directory


def _contents(directory: Path) -> dict[str, Path]:
    """Returns the files of a cached directory, without leftovers and its manifest."""
    found = files.files_under(directory)
    return {name: path for name, path in found.items() if not is_leftover(path)}


def _is_whole(directory: Path) -> bool:
    """Returns whether a cached directory has exactly the files that were written.

    Earlier versions wrote no manifest: a directory without one gets it.
    """
    manifest = directory / _MANIFEST_FILE
    try:
        found = _contents(directory)
        is_known = manifest.exists()
        text = manifest.read_text(encoding="utf-8") if is_known else "{}"
        written = files.parse_json(text)
        now = _entries(found, written)
    except (OSError, ValueError, TypeError, AttributeError):
        return False
    if not found or (is_known and _sums(now) != _sums(written)):
        return False
    if now != written:
        with contextlib.suppress(OSError):  # others may own the cache
            _write_manifest(directory, now)
    return True


def _entries(
    found: dict[str, Path], written: dict[str, list[int]]
) -> dict[str, list[int]]:
    """Returns the manifest of `found`: size, CRC, mtime_ns and inode of each file.

    Files whose other facts are as in `written` are not read again.
    """
    stats = {name: path.stat() for name, path in found.items()}
    facts = {n: (s.st_size, s.st_mtime_ns, s.st_ino) for n, s in stats.items()}
    entries = {
        name: entry
        for name, entry in written.items()
        if (*entry[:1], *entry[2:]) == facts.get(name)
    }
    changed = {name: path for name, path in found.items() if name not in entries}
    for name, sums in files.sums(changed).items():
        entries[name] = [*sums, *facts[name][1:]]
    return entries


def _sums(manifest: dict[str, list[int]]) -> dict[str, list[int]]:
    """Returns size and CRC of each file of a manifest."""
    return {name: entry[:2] for name, entry in manifest.items()}


def _write_manifest(directory: Path, entries: dict[str, list[int]]) -> None:
    text = json.dumps(entries, indent=0) + "\n"
    files.write_atomically(directory / _MANIFEST_FILE, text)
