"""Reads TensorBoard's event files."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def events_in(workdir: Path) -> Iterator[Event]:
    """Yields the events of a workdir in the order in which they were written.

    A record has a length, its CRC, an Event of this length, and the Event's CRC.
    """
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        start = 0
        while start < len(content):
            (length,) = struct.unpack_from("<Q", content, start)
            yield Event.FromString(content[start + 12 : start + 12 + length])
            start += 16 + length


def tags_in(workdir: Path) -> list[str]:
    """Returns the tag of each point and each text."""
    return [value.tag for event in events_in(workdir) for value in event.summary.value]


def texts_in(workdir: Path, name: str) -> list[tuple[int, str]]:
    """Returns the steps and texts that are tagged `name`."""
    return [
        (event.step, value.tensor.string_val[0].decode())
        for event in events_in(workdir)
        for value in event.summary.value
        if value.tag == f"{name}/text_summary"
    ]
