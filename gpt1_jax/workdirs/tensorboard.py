"""TensorBoard's event file of a run, written by the thread that calls.

tensorboardX's own SummaryWriter has a thread and a queue of ten events: on a full disk
the thread dies and the run then waits for it for ever.
"""

import time
from pathlib import Path

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from gpt1_jax.files import naming

_FLUSH_EVERY_SECONDS = 10.0


class Board:
    """An event file in `directory`; TensorBoard forgets steps from `purge_step` on."""

    def __init__(self, directory: Path, purge_step: int):
        self._directory = directory
        with naming(directory):
            self._events = EventsWriter(str(directory / "events"))
        start = SessionLog(status=SessionLog.START)
        self._add(Event(step=purge_step, file_version="brain.Event:2"))
        self._add(Event(step=purge_step, session_log=start))
        self._flushed = time.monotonic()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """A point of the curve `name`."""
        self._add(Event(step=step, summary=summary.scalar(name, value)))
        if time.monotonic() - self._flushed > _FLUSH_EVERY_SECONDS:
            self._flushed = time.monotonic()
            with naming(self._directory):
                self._events.flush()

    def add_text(self, name: str, text: str, step: int) -> None:
        """A text of the step."""
        self._add(Event(step=step, summary=summary.text(name, text)))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        with naming(self._directory):
            self._events.write_event(event)

    def close(self) -> None:
        """Writes out what is not on disk yet."""
        with naming(self._directory):
            self._events.close()
