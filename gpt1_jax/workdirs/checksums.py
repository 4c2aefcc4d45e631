"""The checksums of a checkpoint: written with it, compared before it is used.

manifest.json, in the checkpoint's own directory, so that it moves and goes with it:
{"files": {path: [bytes, crc32]}, "crc32": that of "files"}. A CRC finds every flipped
byte; it is no seal against forgery.
"""

import concurrent.futures
import json
import os
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path

from gpt1_jax.files import parse_json, write_atomically

MANIFEST_FILE = "manifest.json"
# orbax writes these after all else; nothing that is restored depends on them.
_NOT_LISTED = {MANIFEST_FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}
_BLOCK_BYTES = 1 << 22


def write(directory: Path) -> None:
    """Writes the manifest of the files that are in `directory` now."""
    listed = {name: path for name, path in _files(directory).items() if _counts(name)}
    sums = dict(zip(listed, _in_parallel(listed.values()), strict=True))
    write_atomically(directory / MANIFEST_FILE, _text(sums))


def add(directory: Path, item: str) -> None:
    """Lists the files of an item that `directory` got after its manifest."""
    path = directory / MANIFEST_FILE
    sums = _read(directory)
    new = {n: p for n, p in _files(directory).items() if n.split("/")[0] == item}
    sums |= dict(zip(new, _in_parallel(new.values()), strict=True))
    write_atomically(path, _text(sums))


def is_there(directory: Path) -> bool:
    """Returns whether `directory` has a manifest."""
    return (directory / MANIFEST_FILE).is_file()


def problem(directory: Path, items: Collection[str] = ()) -> str:
    """The first file that is not as it was, and what is wrong with it; "": none is.

    Args: items: the parts of the checkpoint to read; none named: all.
    """
    try:
        sums = _read(directory)
    except FileNotFoundError:
        return f"{MANIFEST_FILE} is missing"
    except (ValueError, TypeError, KeyError):
        return f"{MANIFEST_FILE} has other bytes than were written"
    wanted = {
        name: entry
        for name, entry in sums.items()
        if not items or name.split("/")[0] in items
    }
    found = _files(directory)
    # Sizes first: they cost no reading.
    for name, (size, _) in wanted.items():
        if name not in found:
            return f"{name} is missing"
        if (now := found[name].stat().st_size) != size:
            return f"{name} has {now} bytes, not {size}"
    read = _in_parallel(found[name] for name in wanted)
    for (name, entry), own in zip(wanted.items(), read, strict=True):
        if own != entry:
            return f"{name} has other bytes than were written"
    return ""


def _counts(name: str) -> bool:
    return name not in _NOT_LISTED


def _files(directory: Path) -> dict[str, Path]:
    """The files under `directory`, by their path from there; no other is ever read."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in paths}


def _text(sums: dict[str, list[int]]) -> str:
    return json.dumps({"files": sums, "crc32": _own_crc(sums)}, indent=0) + "\n"


def _own_crc(sums: dict[str, list[int]]) -> int:
    return zlib.crc32(json.dumps(sums).encode())


def _read(directory: Path) -> dict[str, list[int]]:
    """What the manifest lists; ValueError, TypeError or KeyError: it is damaged."""
    text = (directory / MANIFEST_FILE).read_text(encoding="utf-8")
    sums = parse_json(text)["files"]
    if text != _text(sums):
        raise ValueError
    return sums


def _in_parallel(paths: Iterable[Path]) -> list[list[int]]:
    """The size and the CRC of each file; zlib lets other threads run meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(_size_and_crc, paths))


def _size_and_crc(path: Path) -> list[int]:
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
