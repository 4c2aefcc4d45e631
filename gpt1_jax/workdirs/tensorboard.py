"""TensorBoard's event file of a run, written by the calling thread.

tensorboardX's own SummaryWriter has a thread and a queue of ten events. On a full disk
the thread dies, and the run then waits for it without end.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from gpt1_jax.files import naming

_FLUSH_EVERY_SECONDS = 10.0


class EventFile:
    """An event file in `directory`; TensorBoard drops steps from `purge_step` on."""

    def __init__(self, directory: Path, purge_step: int):
        self._directory = directory
        with naming(directory):
            self._events = EventsWriter(str(directory / "events"))
        self._flushed = time.monotonic()
        self._add(purge_step, file_version="brain.Event:2")
        self._add(purge_step, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Adds a point to the curve of each name."""
        for name, value in values.items():
            self._add(step, summary=summary.scalar(name, value))

    def add_text(self, name: str, text: str, step: int) -> None:
        """Adds a text of the step."""
        self._add(step, summary=summary.text(name, text))

    def _add(self, step: int, **content: Any) -> None:
        now = time.monotonic()
        is_flush = now - self._flushed > _FLUSH_EVERY_SECONDS
        with naming(self._directory):
            self._events.write_event(Event(step=step, wall_time=time.time(), **content))
            if is_flush:
                self._flushed = now
                self._events.flush()

    def close(self) -> None:
        """Writes what is not on disk yet, and closes the file."""
        with naming(self._directory):
            self._events.close()
