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
_SHARD = re.compile(r".*-(\d+)-of-(\d+)\..*")
# Hugging Face's converted data sets number the shards in the folder of a split.
_NUMBERED = re.compile(r"\d{4}\..*")


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
            if found := _in_any_compression(places, name):
                _check_shards(found)
                return found
    return []


def _in_any_compression(places: list[Path], name: str) -> list[Path]:
    """Returns the entries with `name`, compressed or not, in the order of their names.

    An entry that is there in several forms counts in the first of _COMPRESSED.
    """
    found: dict[Path, str] = {}
    for ending in _COMPRESSED:
        known = set(found.values())
        paths = [path for place in places for path in _matches(place, name + ending)]
        stems = {p: str(p).casefold().removesuffix(ending) for p in paths}
        found |= {path: stem for path, stem in stems.items() if stem not in known}
    return sorted(found)


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
    return all(_SHARD.fullmatch(path.name) for path in found) or _are_numbered(found)


def _are_numbered(found: list[Path]) -> bool:
    """Returns whether files are 0000, 0001 ..., alone in the folder of a split."""
    is_one_folder = len({path.parent for path in found}) == 1
    return is_one_folder and all(_NUMBERED.fullmatch(path.name) for path in found)


def _check_shards(found: list[Path]) -> None:
    """Raises a UserError if shards are missing that the names of the others count."""
    matches = [match for path in found if (match := _SHARD.fullmatch(path.name))]
    if matches:
        numbers, totals = ({int(match[k]) for match in matches} for k in (1, 2))
        if len(totals) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(
                f"{found[0].parent} has shards of several data sets: {names}; those of "
                "one are expected; move the others away"
            )
        total = totals.pop()
    elif _are_numbered(found):
        numbers = {int(path.name.split(".")[0]) for path in found}
        total = max(numbers) + 1
    else:
        return
    if len(numbers) != total or len(found) != total:
        raise UserError(
            f"{found[0].parent} has {len(numbers)} of the {total} shards of "
            f"{found[0].name}; all are expected, each once; copy the others"
        )
