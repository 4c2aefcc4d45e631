"""The files that a pattern means below the root of the task data.

Downloads and users place the same files under names that differ: in upper or lower
case, compressed, in a folder of the same name, or below GLUE's own folder. A pattern
means each of these.
"""

import fnmatch
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from gpt1_jax.data import formats
from gpt1_jax.errors import UserError

# The folders in which downloads of GLUE put the data sets.
_WRAPPERS = ("", "glue/", "glue_data/", "glue_data/glue/")
_COMPRESSED = ("", ".gz", ".zst")
_BRACES = re.compile(r"{([^{}]*)}")
_SHARD = re.compile(r".*-\d+-of-(\d+)\..*")


def find(root: Path, pattern: str) -> list[Path]:
    """Returns the paths below `root` that `pattern` means, in the order of their names.

    The first form of the pattern that exists counts. An entry in the pattern's own case
    wins over others. Braces hold alternatives, as in a shell.
    Example: MNLI/{dev,validation}.csv means also glue_data/mnli/validation.csv.gz.
    Raises: UserError: some shards of a data set are missing.
    """
    for alternative in _alternatives(pattern):
        folder, slash, _ = alternative.partition("/")
        nested = (f"{folder}/{alternative}",) if slash else ()
        for wrapper, inner in itertools.product(_WRAPPERS, (alternative, *nested)):
            *folders, name = f"{wrapper}{inner}".split("/")
            places = [root]
            for part in folders:
                places = [path for place in places for path in _matches(place, part)]
            for ending in _COMPRESSED:
                found = sorted(
                    path for place in places for path in _matches(place, name + ending)
                )
                if found:
                    _check_shards(found)
                    return found
    return []


def _alternatives(pattern: str) -> Iterator[str]:
    """Yields the patterns without braces that `pattern` stands for."""
    literals = _BRACES.split(pattern)[::2]
    choices = [found.split(",") for found in _BRACES.findall(pattern)]
    for chosen in itertools.product(*choices):
        yield "".join(
            part for pair in zip(literals, (*chosen, ""), strict=True) for part in pair
        )


def _matches(place: Path, name: str) -> list[Path]:
    """Returns the entries of a directory that have `name`, if none has, in any case."""
    if name == "**":
        return [place, *(path for path in place.rglob("*") if path.is_dir())]
    if (place / name).exists():
        return [place / name]
    if not place.is_dir():
        return []
    return [
        path
        for path in place.iterdir()
        if fnmatch.fnmatchcase(path.name.casefold(), name.casefold())
        and not formats.is_leftover(path)
    ]


def are_shards(found: list[Path]) -> bool:
    """Returns whether the names of files count them as the shards of one data set."""
    return all(_SHARD.fullmatch(path.name) for path in found)


def _check_shards(found: list[Path]) -> None:
    """Raises a UserError if shards are missing that the names of the others count."""
    match = _SHARD.fullmatch(found[0].name)
    if match and len(found) != int(match[1]):
        raise UserError(
            f"{found[0].parent} has {len(found)} of the {int(match[1])} shards of "
            f"{found[0].name}; all are expected; copy the others"
        )
