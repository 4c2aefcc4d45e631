"""Requests to stop: SIGINT and SIGTERM noted while a loop runs, and when it can heed.

The first signal is a request; a second one acts as if nobody had listened.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax

from gpt1_jax.distributed import multihost

# Several processes ask each other whether to stop; it makes them wait for a step.
AGREE_EVERY = 10

_Item = TypeVar("_Item")


class Stopped(Exception):
    """What can be left, as an evaluation, was left because of a request."""


class _Request:
    is_made = False
    is_heard = False  # whether a loop notes signals now


# A process has one set of signal handlers, so one request.
_request = _Request()


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Notes SIGINT and SIGTERM over a block, see `is_asked`.

    Signals can only be heard in the main thread; elsewhere nothing is.
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
        if before[number] is signal.SIG_IGN:  # as of a job in the background
            signal.signal(number, signal.default_int_handler)
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    for number in numbers:
        signal.signal(number, request)
    _request.is_heard = True
    try:
        yield
    finally:
        _request.is_made = _request.is_heard = False
        restore()


def is_asked(count: int) -> bool:
    """Returns whether to stop now; all processes ask together, with the same `count`.

    Args: count: of the times that this was asked, as several agree every few.
    """
    agree_every = 1 if jax.process_count() == 1 else AGREE_EVERY
    return count % agree_every == 0 and multihost.any_says(_request.is_made)


def leaving(items: Iterable[_Item]) -> Iterator[_Item]:
    """`items`, until a loop that notes signals is asked to stop.

    Raises: Stopped: it is.
    """
    for count, item in enumerate(items, start=1):
        if _request.is_heard and is_asked(count):
            raise Stopped
        yield item
