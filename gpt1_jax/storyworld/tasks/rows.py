"""Labelled rows in any number, with words that training never shows.

Each task splits the words that decide its labels in two: seen words, and held words,
which only rows of dev and test have. The sentences of the tasks are elsewhere.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from gpt1_jax.storyworld import lexicon, narration
from gpt1_jax.storyworld.dice import Dice
from gpt1_jax.storyworld.world import World

T = TypeVar("T")
Label = str | int | float
_NUM_TRIES = 1000
_UNUSUAL_EVERY = 6


@dataclasses.dataclass(frozen=True)
class Row:
    """The texts of one example in the order of its layout, and its label."""

    texts: tuple[str, ...]
    label: Label


class Draws(Dice):
    """Dice whose `pick` keeps to the seen options or, where `is_held`, to the others.

    An option goes to one of the two sides when it is first offered, so that each list
    is halved. `any` picks from both sides.
    """

    def __init__(self, *entropy: int):
        super().__init__(*entropy)
        self.is_held = False
        self._sides: dict[str | int, bool] = {}  # is it a held one

    def any(self, options: Sequence[T]) -> T:
        """Returns one of `options`, seen in training or not."""
        return super().pick(options)

    def pick(self, options: Sequence[T]) -> T:
        """Returns one of the side's options; any where the side has none."""
        return super().pick(self._own(options) or options)

    def two(self, options: Sequence[T]) -> tuple[T, T]:
        """Returns two of the side's options, different ones if it has two."""
        deck = self.shuffled(self._own(options) or options)
        return deck[0], deck[-1]

    def is_usual(self) -> bool:
        """Returns True five times in six.

        Of two words, one is usually of one class: as in real data, and so that a small
        model learns the relation from a few hundred rows.
        """
        return self.below(_UNUSUAL_EVERY) > 0

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

    def alike(self, *heads: str) -> str:
        """Draws a word that means the same as one of `heads`."""
        return self.dice.pick(lexicon.alike(self.dice.any(heads)))

    def thing(self, *kinds: str) -> str:
        """Draws a noun of one of the kinds, one that is not mostly a verb."""
        nouns = lexicon.POOLS[self.dice.any(kinds)]
        return self.dice.pick([noun for noun in nouns if noun != "saw"])

    def tell(self, *frames: str, **roles: object) -> tuple[str, ...]:
        """Returns each frame as a sentence of one scene."""
        scene = self.with_roles(**roles)
        return tuple(narration.sentence(frame, scene) for frame in frames)


# The texts of a row with the label given.
TextsOf = Callable[[Label], tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Task:
    """A way to make rows in groups, one row with each of `labels`.

    `begin` draws what the rows of a group have in common, for a cast with `hero`,
    `friend` and `spot`. A text that they share tells nothing about the label. The
    answers of a choice are shared, and the second text of most pairs.
    """

    labels: tuple[Label, ...]
    begin: Callable[[Cast], TextsOf]


def make_splits(
    plan: Mapping[str, tuple[Task, int]], world: World, *, entropy: Sequence[int]
) -> dict[str, list[Row]]:
    """Returns as many rows as planned for each split, all of them different.

    The first split of the plan is what is trained on. Three of four groups of the
    others are about held words: each row has one that is in no row of the first.
    """
    draws = Draws(*entropy)
    taken: set[tuple[str, ...]] = set()
    shown: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for split, (task, count) in plan.items():
        is_train = not splits
        rows: list[Row] = []
        number = 0
        while len(rows) < count:
            draws.is_held = not is_train and number % 4 != 0
            rows += _new_group(task, world, draws, taken, shown)
            number += 1
        del rows[count:]
        if is_train:
            shown = {word for row in rows for word in words(row)}
        splits[split] = draws.shuffled(rows)
    return splits


def words(row: Row) -> set[str]:
    """Returns the words of all texts of a row, in lower case."""
    return set(re.findall(r"[a-z]+", " ".join(row.texts).lower()))


def _new_group(
    task: Task,
    world: World,
    draws: Draws,
    taken: set[tuple[str, ...]],
    shown: set[str],
) -> list[Row]:
    """Rows unlike those taken; where words are held, each with one not in `shown`."""
    for _ in range(_NUM_TRIES):
        hero, friend = draws.two(world.people)
        spot = draws.any(world.spots)
        texts_of = task.begin(Cast(world, draws, hero=hero, friend=friend, spot=spot))
        rows = [Row(texts_of(label), label) for label in task.labels]
        keys = {tuple(sorted(row.texts)) for row in rows}
        if len(keys) < len(rows) or keys & taken:
            continue
        if not draws.is_held or all(words(row) - shown for row in rows):
            taken |= keys
            return rows
    raise AssertionError(f"{task.begin.__name__} has no further rows")
