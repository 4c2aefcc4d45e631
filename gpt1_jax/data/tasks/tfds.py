"""Data sets that the user has prepared with TFDS, read without TensorFlow.

A data set is read from its directory, by the metadata that TFDS wrote there; the code
of its builder is not needed. This module prepares nothing. It imports TFDS when first
used, as that takes a second.
"""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt1_jax import files
from gpt1_jax.data.tables import Column
from gpt1_jax.data.tasks import official_readers
from gpt1_jax.data.tasks.examples import Columns, Example, shortest_decimal
from gpt1_jax.errors import NotFound, UserError

_BATCH = 1000
_TEXT_FEATURES = ("text", "book_text")  # lm1b and most others; pg19
# Builders that TFDS finds only once their module is imported.
LAZY_MODULES = {
    name: f"tensorflow_datasets.text.{name}"
    for name in ("glue", "definite_pronoun_resolution", "wsc273", "wiki40b")
}


def _one_example(
    record: Mapping[Column, Any], dataset: "Dataset", where: str
) -> Iterator[Example]:
    """Yields a record's Example; a feature of several texts becomes several parts."""
    parts = [_texts(record[feature]) for feature in dataset.columns.parts]
    label = record.get(dataset.label, -1)
    if isinstance(label, np.floating | float):
        label = shortest_decimal(label)
    else:
        label = int(label) - dataset.first_label
    yield Example(
        parts=tuple(text for texts in parts for text in texts),
        label=None if label < 0 else label,
        context=" ".join(_texts(record[f])[0] for f in dataset.columns.context),
        question=" ".join(_texts(record[f])[0] for f in dataset.columns.question),
    )


def race_examples(
    record: Mapping[str, Any], dataset: "Dataset", where: str
) -> Iterator[Example]:
    """Yields an Example for each question of a record, which is an article of RACE."""
    article = {
        "article": _texts(record["article"])[0],
        "questions": _texts(record["questions"]),
        "options": [_texts(options) for options in record["options"]],
        "answers": _texts(record["answers"]),
    }
    yield from official_readers.race_questions(article, where)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The data set of a task in TFDS, and the features that make an Example."""

    # From a split of the task to one or more splits of TFDS: "race/middle:train".
    splits: Mapping[str, tuple[str, ...]]
    columns: Columns
    label: str = "label"
    first_label: int = 0
    # The feature to sort records by, as TFDS shuffles the files; "": none.
    order: str = ""
    # The splits that are only a released part of TFDS's (Story Cloze), and a note.
    released: tuple[str, ...] = ()
    released_note: str = ""
    # SNLI: examples without a label are skipped and counted.
    skips_unlabelled: bool = False
    examples: Callable[..., Iterator[Example]] = _one_example


def read(
    dataset: Dataset,
    split: str,
    tfds_dir: str,
    *,
    classes: tuple[str, ...],
    skipped: collections.Counter[str],
) -> list[Example]:
    """Returns the examples of a task's split, in the order of the official files.

    Args:   classes: the names that the labels must have in TFDS, in order; (): any.
    Raises: UserError, NotFound: as texts; the labels differ from `classes`.
    """
    found: list[Example] = []
    for name in dataset.splits[split]:
        builder, tfds_split = _open(name, tfds_dir)
        _check_classes(builder, dataset.label, classes)
        records = list(_records(builder, tfds_split))
        if dataset.order:
            records.sort(key=lambda record: record[dataset.order])
        for record in records:
            found.extend(dataset.examples(record, dataset, str(builder.data_dir)))
    if dataset.skips_unlabelled:
        labelled = [example for example in found if example.label is not None]
        if len(labelled) < len(found):
            skipped["examples without a label (-1)"] += len(found) - len(labelled)
        found = labelled
    if split in dataset.released:
        found = official_readers.released_part(found, split)
    return found


def _check_classes(builder: Any, label: str, classes: tuple[str, ...]) -> None:
    """Raises UserError if TFDS has other classes than the task, or another order."""
    features = builder.info.features
    names = getattr(features[label], "names", None) if label in features else None
    if classes and names and tuple(names) != classes:
        raise UserError(
            f"{builder.data_dir}: the labels are {', '.join(names)}; "
            f"{', '.join(classes)} are expected; prepare the version that TFDS 4.9.10 "
            "has"
        )


def texts(name: str, split: str, tfds_dir: str) -> Iterator[str]:
    """Returns the texts of a data set for pre-training, in the order on disk.

    Args:
      name: the name of the data set in TFDS: lm1b, pg19, tiny_shakespeare, ...
      split: a split of it: train, test, ...; `describe` lists them.
    Raises: UserError, NotFound: the data set was not prepared, lacks the split, has
            another format or no texts.
    """
    builder, split = _open(f"{name}:{split}", tfds_dir)
    features = builder.info.features
    feature = next((key for key in _TEXT_FEATURES if key in features), None)
    if feature is None:
        raise UserError(
            f"{builder.data_dir} has the features {', '.join(features)}; "
            f"{' or '.join(_TEXT_FEATURES)} is expected; name a data set of texts"
        )
    return (_texts(record[feature])[0] for record in _records(builder, split))


def has(name: str, tfds_dir: str) -> bool:
    """Returns whether "name:split" was prepared in `tfds_dir`."""
    try:
        _open(name, tfds_dir)
    except NotFound:
        return False
    return True


def describe(name: str, tfds_dir: str) -> tuple[str, dict[str, int]]:
    """Returns the identity of a prepared data set, and the sizes of its splits.

    The identity is NAME/VERSION-HASH, with a hash of the metadata; a size is a number
    of records.
    Raises: UserError, NotFound: as texts.
    """
    builder, _ = _open(name, tfds_dir)
    info = Path(builder.data_dir) / "dataset_info.json"
    content = hashlib.sha256(info.read_bytes()).hexdigest()[:16]
    sizes = {key: found.num_examples for key, found in builder.info.splits.items()}
    return f"{name}/{builder.info.version}-{content}", sizes


def _open(name: str, tfds_dir: str) -> tuple[Any, str]:
    """Returns the builder of the data set "name" or "name:split", and the split."""
    name, _, split = name.partition(":")
    if not tfds_dir:
        raise UserError(
            f"config.data.tfds_dir is empty; the directory in which TFDS prepared "
            f"{name} is expected; set it, as in --config.data.tfds_dir="
            "~/tensorflow_datasets"
        )
    directory = _newest_version(files.expand(tfds_dir) / name)
    if directory is None:
        raise NotFound(
            f"{tfds_dir} has no prepared {name}; {name}/VERSION/dataset_info.json is "
            f"expected there; {_remedy(name, tfds_dir)}"
        )
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(directory)
    file_format = builder.info.file_format.value
    if file_format != "array_record":
        raise UserError(
            f"{directory} is in the format {file_format}; array_record is expected, as "
            "no other can be read without TensorFlow; move it away, then "
            f"{_remedy(name, tfds_dir)}"
        )
    if split and split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise UserError(
            f"{directory} has no split {split!r}; it has {known}; name one of these, "
            "or prepare it again"
        )
    return builder, split


def _newest_version(directory: Path) -> Path | None:
    """Returns the directory of the newest prepared version of a data set."""
    versions = [
        found.parent
        for found in directory.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", found.parent.name)
    ]

    def numbers(version: Path) -> list[int]:
        return [int(number) for number in version.name.split(".")]

    return max(versions, key=numbers, default=None)


def _remedy(name: str, tfds_dir: str) -> str:
    """Returns the command that prepares a data set, and what it requires."""
    module = LAZY_MODULES.get(name.split("/")[0])
    also = f"{module}, " if module else ""
    return (
        f'run `python -c "import {also}tensorflow_datasets as t; t.builder('
        f"'{name}', data_dir='{tfds_dir}', file_format='array_record')"
        '.download_and_prepare()"` (to prepare race, lm1b '
        "and pg19 requires TensorFlow; to read them does not)"
    )


def _records(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """Yields the records of a split, in the order on disk."""
    source = builder.as_data_source(split)
    for start in range(0, len(source), _BATCH):
        stop = min(start + _BATCH, len(source))
        yield from source.__getitems__(range(start, stop))


def _texts(value: Any) -> list[str]:
    """Returns the texts of a feature: bytes, or a list or array of bytes."""
    several = [value] if isinstance(value, bytes | str) else list(value)
    return [text.decode() if isinstance(text, bytes) else text for text in several]
