"""The row of a task: its fields, its files and its scores in the paper.

`rows` has the official tasks; `registry` takes tasks of the user's own.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gpt1_jax.data.tasks.examples import Columns, Example
from gpt1_jax.data.tasks.tfds import Dataset

# The functions are in evaluation/metrics.py.
METRICS = ("accuracy", "f1", "matthews", "pearson", "spearman")
KINDS = ("single", "pair", "similarity", "choice")


@dataclasses.dataclass(frozen=True)
class File:
    """A possible path of a split below task_dir, and the reader of its format."""

    # A path, a glob where the name varies, or {one,of,these}; see `paths.find`.
    pattern: str
    read: Callable[[Path, collections.Counter[str]], Iterator[Example]]
    note: str = ""  # for the user, where the file differs from the official data


@dataclasses.dataclass(frozen=True)
class PaperScore:
    """A score of the paper's model on a test set, in percent.

    earlier_percent, earlier_system: the best earlier score in the same table, and the
    system that has it; "": the table names none.
    """

    metric: str  # the metric's name without eval/: accuracy, matched/accuracy
    percent: float
    table: str
    earlier_percent: float = 0.0
    earlier_system: str = ""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """Everything that is specific to a task."""

    name: str
    kind: str  # one of KINDS
    # The classes in the order of their index; (): the labels are scores or choices.
    classes: tuple[str, ...] = ()
    # The first metric selects the best checkpoint.
    metrics: tuple[str, ...]
    # The columns of a user's table that become an Example's parts, context, question.
    columns: tuple[str, ...] = ()
    context_columns: tuple[str, ...] = ()
    question_columns: tuple[str, ...] = ()
    # The split to train on; "": none.
    train: str = "train"
    # The splits to evaluate and to predict, by the prefix of their metrics: `matched`
    # for eval/matched/accuracy, "" for eval/accuracy. `files` may have more splits.
    dev: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"": "dev"})
    test: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"": "test"})
    # The possible files of each split; the first that exists is read.
    files: Mapping[str, tuple[File, ...]] = dataclasses.field(default_factory=dict)
    tfds: Dataset = dataclasses.field(
        default_factory=lambda: Dataset(splits={}, columns=Columns(()))
    )
    # The size of each official split, without the rows that have no gold label.
    num_examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    paper: tuple[PaperScore, ...] = ()
    # The task whose model predicts this one; "": it has a model of its own.
    predicted_by: str = ""
