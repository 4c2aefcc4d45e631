"""Random orders that are the same on every machine and with every numpy.

numpy guarantees the raw bits of PCG64, but not the results of Generator (NEP 19).
"""

import numpy as np


def draw(count: int, *entropy: int) -> np.ndarray:
    """Returns `count` uniform 64-bit integers that depend on `entropy` only."""
    return np.random.PCG64(entropy).random_raw(count)


def permutation(count: int, *entropy: int) -> np.ndarray:
    """Returns 0 .. count - 1 in a random order that depends on `entropy` only."""
    return np.argsort(draw(count, *entropy), kind="stable")
