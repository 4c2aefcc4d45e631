"""Overlap of devices and host: results are read one step after they are dispatched."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

_Result = TypeVar("_Result")


def pipelined(results: Iterable[_Result]) -> Iterator[_Result]:
    """Yields each result after the next one has been dispatched.

    JAX returns an array before it is computed, and reading it waits for the devices.
    Here the devices work on result n + 1 while the host prepares batch n + 2 and reads
    result n.
    Example: for index_B, logits_BC in pipelined((i, step(batch(i))) for i in indices)
    Args:    results: an iterator that dispatches a computation for each item that it
             yields, and reads none. An item usually pairs a batch with its result.
    """
    unread: list[_Result] = []
    for dispatched in results:
        yield from unread
        unread = [dispatched]
    yield from unread
