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

# Files about the data, beside it.
_ABOUT = (
    *("readme", "license", "licence", "changelog"),
    *("dataset_info", "dataset_dict"),
)
_DATASET_STATE, _DATASET_SPLITS = "state.json", "dataset_dict.json"
_HELD_OUT_SPLITS = ("validation", "valid", "dev", "test")


def dataset_splits(pattern: str, eval_pattern: str) -> tuple[str, str]:
    """Returns the directories of the training and the held-out split of `pattern`.

    An `eval_pattern` that is not empty is returned in place of the held-out split.
    Where `pattern` is no directory of splits that `datasets` saved, it is returned as
    it is, with `eval_pattern`.
    Raises: UserError: there is no training split.
    """
    directory = expand(pattern)
    if not (directory / _DATASET_SPLITS).is_file():
        return pattern, eval_pattern
    names = [str(name) for name in _listed(directory / _DATASET_SPLITS, "splits")]
    if "train" not in names:
        raise UserError(
            f"{directory} has the splits {', '.join(names)}; a split train is "
            "expected; name the directory of a split"
        )
    held_out = next((name for name in _HELD_OUT_SPLITS if name in names), "")
    used = {"train": "train"}
    if held_out and not eval_pattern:
        used[held_out] = f"held out {held_out}"
        eval_pattern = str(directory / held_out)
    said = f"splits: {', '.join(used.values())}"
    unused = [name for name in names if name not in used]
    terminal.say(f"{said}; not read: {', '.join(unused)}" if unused else said)
    return str(directory / "train"), eval_pattern


def find(pattern: str) -> list[tuple[Path, str]]:
    """Returns the paths and the kind of a corpus's files.

    They are sorted by path, except those that a saved data set lists in its order.
    Files that a system or an editor left are skipped, with a warning.
    Raises: UserError, NotFound: no files; files of several formats; a damaged file.
    """
    directory = expand(pattern)
    skipped: list[Path] = []
    directories: list[Path] = []
    if (directory / _DATASET_STATE).is_file():
        paths = _dataset_files(directory)
    elif directory.is_dir():
        paths, skipped = _below(directory)
    else:
        names = [str(directory)]
        if not directory.is_file():
            names = glob.glob(os.path.expanduser(pattern), recursive=True)
        matches = sorted(map(Path, names))
        paths = [path for path in matches if path.is_file()]
        directories = [path for path in matches if path.is_dir()]
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
            f"directory stands for its {' '.join(formats.CORPUS_SUFFIXES)} files, such "
            f"as {skipped[0]}"
        )
    _warn_of_directories(pattern, directories, paths)
    if not paths:
        found = f"no file matches {pattern!r}"
        if directories:
            found = f"{pattern!r} matches directories only, such as {directories[0]}"
        raise NotFound(
            f"{found}; a glob of UTF-8 text files, one book a "
            "file, of JSON Lines or of parquet, or a directory of them, is expected; "
            "quote it, and check the path"
        )
    return _checked(paths)


def _warn_of_directories(
    pattern: str, directories: list[Path], paths: list[Path]
) -> None:
    """Warns of directories that a glob matches, but none of the files below them."""
    read = {directory for path in paths for directory in path.parents}
    unread = [directory for directory in directories if directory not in read]
    if paths and unread:
        terminal.warn(
            f"{pattern} also matches directories, whose files are not read, such as "
            f"{unread[0]}; name one directory, or use **/*.txt"
        )


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
        if formats.stem_suffix(path) in formats.CORPUS_SUFFIXES and not is_about:
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
