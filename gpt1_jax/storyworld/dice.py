"""Random choices that give the same result on every machine and library version.

Only PCG64's raw stream is used: numpy promises its bits, but not what Generator's
methods make of them (NEP 19). Not fit for statistics: `below` has a bias of n / 2^32.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 1024


class Dice:
    """A stream of choices, a function of the integers in `entropy` alone."""

    def __init__(self, *entropy: int):
        self._bits = np.random.PCG64(entropy)
        self._drawn: list[int] = []

    def below(self, n: int) -> int:
        """Returns an integer in [0, n)."""
        if not self._drawn:
            self._drawn = (self._bits.random_raw(_BLOCK) >> np.uint64(32)).tolist()
        return (self._drawn.pop() * n) >> 32

    def pick(self, options: Sequence[T]) -> T:
        """Returns one of `options`."""
        return options[self.below(len(options))]

    def shuffled(self, options: Iterable[T]) -> list[T]:
        """Returns all of `options` in random order (Fisher-Yates)."""
        deck = list(options)
        for i in range(len(deck) - 1, 0, -1):
            j = self.below(i + 1)
            deck[i], deck[j] = deck[j], deck[i]
        return deck
