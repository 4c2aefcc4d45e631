"""Examples of tasks, and the columns of a table that make one.

This module opens no file; `readers` and `tfds` do.
"""

import collections
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpt1_jax.data.tables import Column
from gpt1_jax.errors import UserError, suggestion

LOWEST_SCORE, HIGHEST_SCORE = 0.0, 5.0  # of STS-B
_NUMBER = re.compile(r"-?\d+(\.0)?")


def shortest_decimal(score: Any) -> float:
    """Returns the shortest decimal of `score` in float32: 3.8 for 3.7999999523."""
    return float(str(np.float32(score)))


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of a task, with or without a label."""

    # single: (text,); pair: (premise, hypothesis) or (question, sentence); similarity:
    # (sentence1, sentence2); choice: the answers.
    parts: tuple[str, ...]
    # The index of the class or answer; STS-B: a score; None: the file has no label.
    label: int | float | None
    # choice: the text before each answer, which may be cut: RACE's article, or Story
    # Cloze's four sentences joined by a space.
    context: str = ""
    # choice: the question after the context, which is never cut: RACE's.
    question: str = ""


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of a split, and notes on them for the user."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...]  # on skipped rows, unusual counts and the like


@dataclasses.dataclass(frozen=True)
class Labels:
    """The column of the labels, and the meaning of each label."""

    column: Column
    # From a label in the file to its index; empty: labels are scores as in STS-B.
    classes: Mapping[str, int]
    # The mark of a missing label; rows that have it are skipped and counted.
    absent: str = ""

    def parse(self, name: str, where: str) -> int | float:
        """Returns the index or score of the label `name`.

        Raises: UserError naming `where`, the label and what is allowed.
        """
        if name in self.classes:
            return self.classes[name]
        given = f"{where}: label {name!r}"
        remedy = "correct it, or choose the task that has such labels"
        if self.classes:
            allowed = f"one of {', '.join(self.classes)} is expected"
            are_names = not all(map(_NUMBER.fullmatch, self.classes))
            if are_names and not _NUMBER.fullmatch(name):
                folded = {known.casefold(): known for known in self.classes}
                near = folded.get(name.casefold(), name)
                remedy = suggestion(near, self.classes, remedy)
            elif are_names:
                given += " is a number, and data sets number their classes differently"
                allowed += f" in column {self.column}"
                remedy = (
                    "write the names, or save the data set as parquet with Hugging "
                    "Face's datasets, which keeps them"
                )
        else:
            allowed = f"a number from {LOWEST_SCORE:g} to {HIGHEST_SCORE:g} is expected"
            try:
                score = float(name)
            except ValueError:
                score = float("nan")
            if LOWEST_SCORE <= score <= HIGHEST_SCORE:
                return score
        raise UserError(f"{given}; {allowed}; {remedy}")


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table that make an Example."""

    parts: tuple[Column, ...]
    labels: Labels | None = None
    context: tuple[Column, ...] = ()  # joined by a space
    question: tuple[Column, ...] = ()
    has_list: bool = False  # parts is one column, whose cells are lists of texts

    @property
    def needed(self) -> tuple[Column, ...]:
        """All columns that a table must have."""
        labels = (self.labels.column,) if self.labels else ()
        return (*self.context, *self.question, *self.parts, *labels)

    def example(
        self, row: Mapping[Column, Any], where: str, skipped: collections.Counter[str]
    ) -> Example | None:
        """Returns the Example in a row; None, counted, if its label is absent."""
        label = None
        if self.labels:
            name = row[self.labels.column]
            if self.labels.absent and name == self.labels.absent:
                skipped[f"rows without a gold label ({name!r})"] += 1
                return None
            label = self.labels.parse(name, where)
        parts = tuple(row[column] for column in self.parts)
        return Example(
            parts=parts[0] if self.has_list else parts,
            label=label,
            context=" ".join(row[column] for column in self.context),
            question=" ".join(row[column] for column in self.question),
        )
