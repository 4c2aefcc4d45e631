"""The files of a corpus: those that a glob, a file or a directory stands for.

A directory stands for the text, JSON Lines, parquet and Arrow files below it, also
compressed; one that Hugging Face's `datasets` saved, for the files that it lists.
"""

import collections
import glob
import os
from pathlib import Path

from gpt1_jax import terminal
from gpt1_jax.data import formats
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import expand, parse_json

_SUFFIXES = (".txt", ".md", ".jsonl", ".ndjson", ".parquet", ".arrow")
# Files about the data, beside it.
_ABOUT = ("readme", "license", "licence", "changelog")
_DATASET_STATE, _DATASET_SPLITS = "state.json", "dataset_dict.json"
_HELD_OUT_SPLITS = ("validation", "valid", "dev", "test")


def dataset_splits(pattern: str) -> tuple[str, str]:
    """Returns the directories of the training and the held-out split of `pattern`.

    Where `pattern` is no directory of splits that `datasets` saved, it is returned as
    it is, with "".
    Raises: UserError: there is no training split.
    """
    directory = expand(pattern)
    if not (directory / _DATASET_SPLITS).is_file():
        return pattern, ""
    names = _listed(directory / _DATASET_SPLITS, "splits")
    if "train" not in names:
        raise UserError(
            f"{directory} has the splits {', '.join(names)}; a split train is "
            "expected; name the directory of a split"
        )
    held_out = next((name for name in _HELD_OUT_SPLITS if name in names), "")
    return str(directory / "train"), held_out and str(directory / held_out)


def find(pattern: str) -> list[tuple[Path, str]]:
    """Returns the paths and the kind of a corpus's files, sorted by path.

    Files that a system or an editor left are skipped, with a warning.
    Raises: UserError, NotFound: no files; files of several formats; a damaged file.
    """
    directory = expand(pattern)
    skipped: list[Path] = []
    if (directory / _DATASET_STATE).is_file():
        paths = _dataset_files(directory)
    elif directory.is_dir():
        paths, skipped = _below(directory)
    else:
        names = [str(directory)]
        if not directory.is_file():
            names = glob.glob(os.path.expanduser(pattern), recursive=True)
        paths = sorted(path for path in map(Path, names) if path.is_file())
    leftovers = [path for path in paths if formats.is_leftover(path)]
    if leftovers:
        terminal.warn(
            f"{pattern}: left out {terminal.counted(len(leftovers), 'file')} of a "
            f"system or an editor, such as {leftovers[0]}"
        )
        paths = [path for path in paths if not formats.is_leftover(path)]
    if skipped:
        terminal.warn(
            f"{pattern}: left out {terminal.counted(len(skipped), 'file')}, as a "
            f"directory stands for its {' '.join(_SUFFIXES)} files, such as "
            f"{skipped[0]}"
        )
    if not paths:
        raise NotFound(
            f"no file matches {pattern!r}; a glob of UTF-8 text files, one book a "
            "file, of JSON Lines or of parquet, or a directory of them, is expected; "
            "quote it, and check the path"
        )
    return _checked(paths)


def _checked(paths: list[Path]) -> list[tuple[Path, str]]:
    """Returns the paths with their kind; raises a UserError for several kinds."""
    found = [(path, formats.detect(path).kind) for path in paths]
    by_kind: dict[str, list[Path]] = collections.defaultdict(list)
    for path, kind in found:
        by_kind[kind].append(path)
    if len(by_kind) > 1:
        several = " and ".join(
            f"{kind} ({len(of_kind):,}, such as {of_kind[0]})"
            for kind, of_kind in by_kind.items()
        )
        raise UserError(
            f"the corpus is {several}; files of one format are expected; name them by "
            "a glob, such as '*.txt'"
        )
    return found


def _below(directory: Path) -> tuple[list[Path], list[Path]]:
    """Returns the files of data below a directory, and the others."""
    found, others = [], []
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        is_hidden = any(part.startswith(".") for part in inside.parts[:-1])
        if is_hidden or not path.is_file():
            continue
        is_about = path.name.lower().startswith(_ABOUT)
        if formats.stem_suffix(path) in _SUFFIXES and not is_about:
            found.append(path)
        elif not formats.is_leftover(path):
            others.append(path)
    return found, others


def _dataset_files(directory: Path) -> list[Path]:
    """Returns the files that state.json lists, in its order.

    Raises: UserError: one is not there, or the list is damaged.
    """
    files = _listed(directory / _DATASET_STATE, "_data_files")
    paths = [directory / str(file["filename"]) for file in files]
    for path in paths:
        if not path.is_file():
            raise NotFound(
                f"{path} is not there, but {_DATASET_STATE} lists it; all files of the "
                "saved data set are expected; copy the directory again"
            )
    return paths


def _listed(path: Path, key: str) -> list:
    """Returns the list `key` of a JSON file; raises a UserError where it is damaged."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))[key]
        if not found or not isinstance(found, list):
            raise ValueError(f"{key} is empty")
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); a file that `datasets` wrote is expected; "
            "copy the directory again"
        ) from None
