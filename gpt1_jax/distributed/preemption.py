"""Requests to stop: SIGINT and SIGTERM are recorded, and loops stop when they can.

The first signal is a request. A second one acts as if no handler were installed.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax

from gpt1_jax.distributed import multihost

# To agree on whether to stop, processes wait for each other; so it is not done often.
AGREE_EVERY = 10

_Item = TypeVar("_Item")


class StopRequested(Exception):
    """Work that can be repeated, such as an evaluation, was cut short by a request."""


class _Request:
    is_made = False
    is_recorded = False  # whether the handlers are installed


# A process has one set of signal handlers, so one request.
_request = _Request()


@contextlib.contextmanager
def recorded_signals() -> Iterator[None]:
    """Records SIGINT and SIGTERM over a block instead of ending it.

    Python delivers signals to the main thread only; in another thread this does
    nothing.
    """
    _request.is_made = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {n: signal.getsignal(n) for n in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: Any) -> None:
        _request.is_made = True
        restore()
        if before[number] is signal.SIG_IGN:  # a shell's background job
            signal.signal(number, signal.default_int_handler)
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    for number in numbers:
        signal.signal(number, request)
    _request.is_recorded = True
    try:
        yield
    finally:
        _request.is_made = _request.is_recorded = False
        restore()


def is_stop_requested(count: int) -> bool:
    """Returns whether any process was asked to stop; all must ask at the same `count`.

    Args: count: of the calls; several processes agree at every AGREE_EVERY-th only.
    """
    agree_every = 1 if jax.process_count() == 1 else AGREE_EVERY
    return count % agree_every == 0 and multihost.is_true_anywhere(_request.is_made)


def interruptible(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yields `items` until a request to stop is recorded.

    Raises: StopRequested.
    """
    for count, item in enumerate(items, start=1):
        if _request.is_recorded and is_stop_requested(count):
            raise StopRequested
        yield item
