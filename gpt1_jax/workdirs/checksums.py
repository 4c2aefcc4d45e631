"""Checksums of a checkpoint, which are written with it and compared before its use.

They are in manifest.json, in the checkpoint's own directory:
{"step": step, "files": {path: [bytes, crc32]}, "crc32": the CRC of both}. A CRC finds
accidental damage; it does not protect against forgery.
"""

import json
import zlib
from collections.abc import Collection
from pathlib import Path

from gpt1_jax.files import files_under, parse_json, sums, write_atomically

MANIFEST_FILE = "manifest.json"
# orbax writes these last; nothing that is restored depends on them.
_NOT_LISTED = {MANIFEST_FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}


def write(directory: Path, step: int) -> None:
    """Writes the manifest of the files in `directory`, which hold a step."""
    found = files_under(directory)
    listed = {name: found[name] for name in found if name not in _NOT_LISTED}
    write_atomically(directory / MANIFEST_FILE, _text(step, sums(listed)))


def add(directory: Path, item: str) -> None:
    """Adds the files of `item`, which were written after the manifest, to it."""
    found = files_under(directory)
    new = {name: found[name] for name in found if name.split("/")[0] == item}
    step, before = _read(directory)
    write_atomically(directory / MANIFEST_FILE, _text(step, before | sums(new)))


def remove(directory: Path, item: str) -> None:
    """Removes the files of `item` from the manifest, before they are deleted."""
    step, sums = _read(directory)
    kept = {n: entry for n, entry in sums.items() if n.split("/")[0] != item}
    write_atomically(directory / MANIFEST_FILE, _text(step, kept))


def lists(directory: Path, item: str) -> bool:
    """Returns whether the manifest, which is not damaged, lists files of `item`."""
    return any(name.split("/")[0] == item for name in _read(directory)[1])


def problem(directory: Path, items: Collection[str] = ()) -> str:
    """Returns what is wrong with the first damaged file; "" if no file is damaged.

    Args: items: the parts of the checkpoint to read; empty: all.
    """
    try:
        step, written = _read(directory)
    except FileNotFoundError:
        return f"{MANIFEST_FILE} is missing"
    except (ValueError, TypeError, KeyError):
        return f"{MANIFEST_FILE} has other bytes than were written"
    if directory.name != str(step):
        return f"it holds step {step}; its name must be {step}"
    wanted = {
        name: entry
        for name, entry in written.items()
        if not items or name.split("/")[0] in items
    }
    found = files_under(directory)
    # Sizes first: they cost no reading.
    for name, (size, _) in wanted.items():
        if name not in found:
            return f"{name} is missing"
        if (now := found[name].stat().st_size) != size:
            return f"{name} has {now} bytes, not {size}"
    now_there = sums({name: found[name] for name in wanted})
    for name, entry in wanted.items():
        if now_there[name] != entry:
            return f"{name} has other bytes than were written"
    return ""


def _text(step: int, written: dict[str, list[int]]) -> str:
    content = {"step": step, "files": written}
    crc32 = zlib.crc32(json.dumps(content).encode())
    return json.dumps(content | {"crc32": crc32}, indent=0) + "\n"


def _read(directory: Path) -> tuple[int, dict[str, list[int]]]:
    """Returns the step and the sums; ValueError, TypeError or KeyError: damage."""
    text = (directory / MANIFEST_FILE).read_text(encoding="utf-8")
    content = parse_json(text)
    if text != _text(content["step"], content["files"]):
        raise ValueError
    return content["step"], content["files"]
