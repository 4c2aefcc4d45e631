"""The row of a task: its fields, its files and its scores in the paper.

`rows` has the official tasks; `registry` takes tasks of the user's own.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gpt1_jax.data.tasks.examples import (
    HIGHEST_SCORE,
    LOWEST_SCORE,
    Columns,
    Example,
)
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
    # A choice may have one column, whose cells are lists of answers.
    context_columns: tuple[str, ...] = ()
    question_columns: tuple[str, ...] = ()
    # The column of the labels in config.data.train_file and dev_file, which are the
    # task's splits; "": the splits are `files`.
    label_column: str = ""
    # choice: the name of each answer in the column of the labels; (): 0, 1 ...
    answer_names: tuple[str, ...] = ()
    # The lowest and the highest score, where the labels are scores.
    scores: tuple[float, float] = (LOWEST_SCORE, HIGHEST_SCORE)
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

    @property
    def is_graded(self) -> bool:
        """Returns whether the labels are scores, not classes or choices."""
        return not self.classes and self.kind != "choice"

    @property
    def input_columns(self) -> Columns:
        """The columns of a table of examples without labels."""
        return Columns(
            self.columns,
            context=self.context_columns,
            question=self.question_columns,
            has_list=self.kind == "choice" and len(self.columns) == 1,
        )

    def grade_of(self, score: float) -> float:
        """Returns a score on the scale from 0 to 5, on which models are trained."""
        low, high = self.scores
        return (score - low) / ((high - low) / HIGHEST_SCORE)

    def score_of(self, grade: float) -> float:
        """Returns the score of a grade from 0 to 5."""
        low, high = self.scores
        return low + grade * ((high - low) / HIGHEST_SCORE)
