"""Sizes rounded up, so that few shapes are compiled."""


def round_up(size: int, largest: int) -> int:
    """Returns the next power of two, at most `largest`."""
    return min(largest, 1 << (size - 1).bit_length())
