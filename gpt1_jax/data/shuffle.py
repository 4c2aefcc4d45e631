"""Random orders that are the same on every machine and with every numpy.

numpy promises the raw bits of PCG64, but not what Generator makes of them (NEP 19).
"""

import numpy as np


def draw(count: int, *entropy: int) -> np.ndarray:
    """`count` uniform 64-bit integers, a function of the integers in `entropy`."""
    return np.random.PCG64(entropy).random_raw(count)


def permutation(count: int, *entropy: int) -> np.ndarray:
    """0 .. count - 1 in random order, a function of the integers in `entropy`."""
    return np.argsort(draw(count, *entropy), kind="stable")
