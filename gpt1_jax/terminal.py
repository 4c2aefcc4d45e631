"""What commands show their user: lines, warnings and progress bars.

On a terminal progress is a live bar; elsewhere it is a plain line now and then. It
decides nothing and keeps no record: metrics.jsonl is the record.
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO, TypeVar

import rich.console
import rich.progress

_PLAIN_LINE_EVERY_SECONDS = 10.0

_Item = TypeVar("_Item")

# A notebook's output calls itself a terminal, but shows each frame of a bar; and rich
# would make an output of its own of each line.
_console = rich.console.Console(
    highlight=False,
    emoji=False,
    soft_wrap=True,
    force_jupyter=False,
    force_terminal=False if "ipykernel" in sys.modules else None,
)


def silence() -> None:
    """Shows nothing from now on; errors that end a command are not shown here."""
    _console.quiet = True


def use_stderr(is_used: bool) -> None:
    """Shows messages on standard error from now on, if standard output is a result."""
    _console.stderr = is_used


def say(text: str) -> None:
    """Prints a line above the running progress bar, if there is one."""
    _print(text)


def warn(text: str) -> None:
    """Prints a warning: something is valid, but probably unintended."""
    _print(f"warning: {text}", style="yellow")


def _print(text: str, style: str | None = None) -> None:
    """Prints a message. A closed or full output loses it; work goes on without."""
    try:
        _console.print(_encodable(text, _console.file), markup=False, style=style)
    except OSError:
        silence()


def write_result(text: str) -> None:
    """Writes a piece of a command's result to standard output, at once.

    Raises: OSError where standard output is closed or full.
    """
    if not _console.quiet:
        sys.stdout.write(_encodable(text, sys.stdout))
        sys.stdout.flush()


def _encodable(text: str, file: IO[str]) -> str:
    r"""Returns `text` with characters that `file` cannot encode as \xNN or \uNNNN."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


class _Bar:
    """A running task; `advance` and `note` are what its work calls."""

    def __init__(self, title: str, total: float, done: float, unit: str):
        self._title, self._total, self._unit = title, total, unit
        self._done, self._start = done, done
        self._began = self._last_line = time.monotonic()
        self._note = ""
        self._live: rich.progress.Progress | None = None
        if _console.is_terminal:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=30),
                rich.progress.TextColumn("{task.percentage:3.0f}%"),
                rich.progress.TextColumn("{task.fields[note]}"),
                rich.progress.TextColumn("left"),
                rich.progress.TimeRemainingColumn(compact=True),
                console=_console,
                transient=True,
            )
            self._task = self._live.add_task(
                title,
                total=total,
                completed=done,  # type: ignore[arg-type]  # elsewhere rich has floats
                note="",
            )
            self._live.start()

    def advance(self, amount: float = 1.0) -> None:
        """`amount` more of the total is done."""
        self._done += amount
        if self._live:
            self._live.update(self._task, completed=self._done, note=self._note)
        elif time.monotonic() - self._last_line >= _PLAIN_LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            say(self._plain_line())

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """`items`, each a unit of the work."""
        for item in items:
            yield item
            self.advance()

    def note(self, text: str) -> None:
        """What to show beside the bar from now on."""
        self._note = text

    def _plain_line(self) -> str:
        elapsed = time.monotonic() - self._began
        rate = (self._done - self._start) / max(elapsed, 1e-9)
        left = (self._total - self._done) / rate if rate else float("inf")
        parts = [f"{self._title} {self._done:,.0f}/{self._total:,.0f} {self._unit}"]
        parts += [self._note] if self._note else [f"{rate:,.2f} {self._unit}/s"]
        return ", ".join([*parts, f"{duration(left)} left"])

    def close(self) -> None:
        if self._live:
            self._live.stop()


@contextlib.contextmanager
def progress(title: str, total: float, *, done: float = 0, unit: str) -> Iterator[_Bar]:
    """A progress bar (plain lines where the output is no terminal) over a block.

    Args: total, done: in `unit`s; done is where a resumed work starts.
    """
    bar = _Bar(title, total, done, unit)
    try:
        yield bar
    finally:
        bar.close()


def duration(seconds: float) -> str:
    """`75.2` as `1m15s`."""
    if seconds == float("inf"):
        return "?"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def flush() -> None:
    """Writes out what the streams still hold, before the process ends abruptly."""
    sys.stdout.flush()
    sys.stderr.flush()
