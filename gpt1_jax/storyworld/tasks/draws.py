"""Labelled rows by the number, with words that training never shows.

Each task parts the words that decide its labels in two: the seen ones, and the held
ones, which only rows of dev and test hold. What a task says is elsewhere.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from gpt1_jax.storyworld import narration
from gpt1_jax.storyworld.dice import Dice
from gpt1_jax.storyworld.world import World

T = TypeVar("T")
Label = str | int | float
_NUM_TRIES = 1000


@dataclasses.dataclass(frozen=True)
class Row:
    """The texts of one example in the order of its layout, and its label."""

    texts: tuple[str, ...]
    label: Label


class Draws(Dice):
    """Dice whose `pick` keeps to the seen options or, where `is_held`, to the others.

    Options are parted at their first mention, half and half within each list that they
    are picked from. `any` picks from all of them.
    """

    def __init__(self, *entropy: int):
        super().__init__(*entropy)
        self.is_held = False
        self._sides: dict[str | int, bool] = {}  # is it a held one

    def any(self, options: Sequence[T]) -> T:
        """One of `options`, seen in training or not."""
        return super().pick(options)

    def pick(self, options: Sequence[T]) -> T:
        """One of the side's options; any where the side has none."""
        return super().pick(self._own(options) or options)

    def two(self, options: Sequence[T]) -> tuple[T, T]:
        """Two of the side's options, different ones if it has two."""
        deck = self.shuffled(self._own(options) or options)
        return deck[0], deck[-1]

    def _own(self, options: Sequence[T]) -> list[T]:
        """The side's options; new ones go to the side that has fewer of all these."""
        sides = [self._sides.get(_key(option)) for option in options]
        if None in sides:
            surplus = sides.count(False) - sides.count(True)
            for i in self.shuffled(range(len(options))):
                if sides[i] is None:
                    sides[i] = self._sides[_key(options[i])] = surplus > 0
                    surplus += -1 if surplus > 0 else 1
        return [o for o, s in zip(options, sides, strict=True) if s is self.is_held]


def _key(option: object) -> str | int:
    """Names an option; people and events by identity, as hashing them is slow."""
    return option if isinstance(option, str) else id(option)


class Cast(narration.Cast):
    """The cast of a row: its dice tell seen options from held ones."""

    dice: Draws


# The texts of one row with the label given; the cast has `hero` and `friend`.
MakeTexts = Callable[[Cast, Label], tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Task:
    """How to make rows; equally many with each entry of `labels`."""

    labels: tuple[Label, ...]
    make: MakeTexts


def make_splits(
    plan: Mapping[str, tuple[Task, int]], world: World, *, entropy: Sequence[int]
) -> dict[str, list[Row]]:
    """As many rows as planned for each split, all of them different.

    The first split of the plan is what is trained on. Three of four rows of the others
    are about held words: each has one that is in no row of the first.
    """
    draws = Draws(*entropy)
    taken: set[tuple[str, ...]] = set()
    shown: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for split, (task, count) in plan.items():
        is_train = not splits
        rows = []
        for i in range(count):
            number, which = divmod(i, len(task.labels))
            draws.is_held = not is_train and number % 4 != 0
            rows.append(_new_row(task, task.labels[which], world, draws, taken, shown))
        if is_train:
            shown = {word for row in rows for word in words(row)}
        splits[split] = draws.shuffled(rows)
    return splits


def words(row: Row) -> set[str]:
    """The words of all texts of a row, in lower case."""
    return set(re.findall(r"[a-z]+", " ".join(row.texts).lower()))


def _new_row(
    task: Task,
    label: Label,
    world: World,
    draws: Draws,
    taken: set[tuple[str, ...]],
    shown: set[str],
) -> Row:
    """A row unlike those taken; where words are held, with one not in `shown`."""
    for _ in range(_NUM_TRIES):
        row = Row(task.make(_cast(world, draws), label), label)
        key = tuple(sorted(row.texts))
        if key not in taken and (not draws.is_held or words(row) - shown):
            taken.add(key)
            return row
    raise AssertionError(f"{task.make.__name__} has no further rows")


def _cast(world: World, draws: Draws) -> Cast:
    """Two people of the side and a place."""
    hero, friend = draws.two(world.people)
    return Cast(world, draws, hero=hero, friend=friend, spot=draws.any(world.spots))
