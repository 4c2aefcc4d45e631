"""Examples of tasks, and the columns of a table that make one.

Nothing here opens a file: `readers` and `tfds` do.
"""

import collections
import dataclasses
from collections.abc import Mapping

from gpt1_jax.errors import UserError

LOWEST_SCORE, HIGHEST_SCORE = 0.0, 5.0  # of STS-B

Column = str | int  # a name from the header, or a place from 0 where there is none


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled (or not) example as the task's files give it."""

    # single: (text,); pair: (premise, hypothesis) or (question, sentence); similarity:
    # (sentence1, sentence2); choice: the answers.
    parts: tuple[str, ...]
    # The index of the class or answer; STS-B: a score; None where the file has none.
    label: int | float | None
    # choice: what the answers share and what may be cut: RACE's article, Story Cloze's
    # four sentences joined by a space.
    context: str = ""
    # RACE's question: never cut.
    question: str = ""


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of a split, and what the user should know about them."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...]  # a sentence each: what was skipped, what is unusual


@dataclasses.dataclass(frozen=True)
class Labels:
    """The column of the labels, and their meaning."""

    column: Column
    # From the name in the file to the index; empty: labels are scores as in STS-B.
    classes: Mapping[str, int]
    # The name of a missing label; rows that have it are skipped and counted.
    absent: str = ""

    def parse(self, name: str, where: str) -> int | float:
        """The index or score that `name` stands for.

        Raises: UserError naming `where`, the label and what is allowed.
        """
        if name in self.classes:
            return self.classes[name]
        if self.classes:
            allowed = f"one of {', '.join(self.classes)} is expected"
        else:
            allowed = f"a number from {LOWEST_SCORE:g} to {HIGHEST_SCORE:g} is expected"
            try:
                score = float(name)
            except ValueError:
                score = float("nan")
            if LOWEST_SCORE <= score <= HIGHEST_SCORE:
                return score
        raise UserError(
            f"{where}: label {name!r}; {allowed}; correct it, or choose the task that "
            "has such labels"
        )


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of a table make an Example."""

    parts: tuple[Column, ...]
    labels: Labels | None = None
    context: tuple[Column, ...] = ()  # joined by a space
    question: tuple[Column, ...] = ()

    @property
    def needed(self) -> tuple[Column, ...]:
        """All columns that a table must have."""
        labels = (self.labels.column,) if self.labels else ()
        return (*self.context, *self.question, *self.parts, *labels)

    def example(
        self, row: Mapping[Column, str], where: str, skipped: collections.Counter[str]
    ) -> Example | None:
        """The Example in a row; None where it has no gold label, which is counted."""
        label = None
        if self.labels:
            name = row[self.labels.column]
            if self.labels.absent and name == self.labels.absent:
                skipped[f"rows without a gold label ({name!r})"] += 1
                return None
            label = self.labels.parse(name, where)
        return Example(
            parts=tuple(row[column] for column in self.parts),
            label=label,
            context=" ".join(row[column] for column in self.context),
            question=" ".join(row[column] for column in self.question),
        )
