"""The output of commands for their user: lines, warnings and progress bars.

On a terminal, progress is a live bar; elsewhere it is a plain line every few seconds.
The record of a run is metrics.jsonl, not this output.
"""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TypeVar

import rich.console
import rich.progress

from gpt1_jax.errors import RunFailed

_PLAIN_LINE_EVERY_SECONDS = 10.0

# The first piece of work compiles, so the time left is known some pieces after it.
_PIECES_BEFORE_TIME_LEFT = 4

_Item = TypeVar("_Item")


class _Console(rich.console.Console):
    """A console whose reader may go away."""

    def on_broken_pipe(self) -> None:
        """Continues without output, where rich would end the process."""
        _discard(self.file)


# A notebook's output says that it is a terminal, but shows every frame of a bar. With
# its Jupyter support rich would make a separate output of each line.
_console = _Console(
    highlight=False,
    emoji=False,
    soft_wrap=True,
    force_jupyter=False,
    force_terminal=False if "ipykernel" in sys.modules else None,
)


def silence() -> None:
    """Stops all output of this module; an error that ends a command is still shown."""
    _console.quiet = True


def use_stderr(is_used: bool) -> None:
    """Shows messages on standard error from now on, if standard output is a result."""
    _console.stderr = is_used


def say(text: str) -> None:
    """Prints a line, above the progress bar if there is one."""
    _print(text)


def warn(text: str) -> None:
    """Prints a warning about something valid, but probably unintended."""
    _print(f"warning: {text}", style="yellow")


def error(text: str) -> None:
    """Prints the line of an error to standard error, after all other output."""
    flush()
    print(f"error: {' '.join(text.split())}", file=sys.stderr)


def _print(text: str, style: str | None = None) -> None:
    """Prints a message. If the output is closed or full, work goes on without it."""
    try:
        _console.print(_encodable(text, _console.file), markup=False, style=style)
    except OSError:
        _discard(_console.file)


def write_result(text: str) -> None:
    """Writes a piece of a command's result to standard output, at once.

    Raises: RunFailed: standard output is closed or full.
    """
    try:
        if sys.stdout is None:  # closed before the process began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sys.stdout.write(_encodable(text, sys.stdout))
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise RunFailed(
            f"standard output: {error.strerror}; the rest of the result is lost; keep "
            "its reader open, or write it to another file"
        ) from None


def _discard(file: IO[str] | None) -> None:
    """Sends what is still written to `file` nowhere, as it is closed or full.

    Otherwise Python would fail again when it flushes the file at its end.
    """
    if file is None:
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _encodable(text: str, file: IO[str]) -> str:
    r"""Returns `text` with characters that `file` cannot encode as \xNN or \uNNNN."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


class Series:
    """Runs one after another, whose time left is that of all of them together."""

    def __init__(self, total: int):
        self._total, self._ended = total, 0
        self._began = self._began_run = time.monotonic()

    def end_run(self) -> None:
        """Counts a run that has ended."""
        self._ended += 1
        self._began_run = time.monotonic()

    def seconds_left(self, left_in_run: float | None = None) -> float | None:
        """Returns the time left of all runs; None while it is not known.

        A run takes as long as the others on average; before the first one has ended, as
        long as it has taken and `left_in_run` together.
        """
        now = time.monotonic()
        in_run = now - self._began_run
        if self._ended:
            a_run = (self._began_run - self._began) / self._ended
        elif left_in_run is not None:
            a_run = in_run + left_in_run
        else:
            return None
        if left_in_run is None:
            left_in_run = max(0.0, a_run - in_run)
        return left_in_run + a_run * max(0, self._total - self._ended - 1)


_series: Series | None = None


@contextlib.contextmanager
def series(total: int) -> Iterator[Series]:
    """Shows the time left of `total` runs together, in each bar over the block."""
    global _series
    _series = Series(total)
    try:
        yield _series
    finally:
        _series = None


class _Bar:
    """A progress bar; the work calls `advance`, `over` and `note`."""

    def __init__(
        self, title: str, total: float, done: float, unit: str, *, is_whole_run: bool
    ):
        self._title, self._total, self._unit = title, total, unit
        self._done, self._start = done, done
        self._began = self._last_line = time.monotonic()
        self._is_whole_run = is_whole_run
        # The end of the first piece: what was done then, and the time.
        self._first: tuple[float, float] | None = None
        self._num_pieces = 0
        self._note = ""
        self._live: rich.progress.Progress | None = None
        if _console.is_terminal:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=30),
                rich.progress.TextColumn("{task.percentage:3.0f}%"),
                rich.progress.TextColumn("{task.fields[note]}"),
                rich.progress.TextColumn("{task.fields[left]}"),
                console=_console,
                transient=True,
            )
            self._task = self._live.add_task(
                title,
                total=total,
                completed=done,  # type: ignore[arg-type]  # rich accepts floats
                note="",
                left="",
            )
            self._live.start()

    def advance(self, amount: float = 1.0) -> None:
        """Adds `amount` to what is done."""
        self._done += amount
        self._num_pieces += 1
        if self._first is None:
            self._first = self._done, time.monotonic()
        if self._live:
            self._live.update(
                self._task, completed=self._done, note=self._note, left=self._left()
            )
        elif time.monotonic() - self._last_line >= _PLAIN_LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            say(self._plain_line())

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields `items`, each of which is a unit of the work."""
        for item in items:
            yield item
            self.advance()

    def note(self, text: str) -> None:
        """Shows `text` beside the bar from now on."""
        self._note = text

    def _plain_line(self) -> str:
        elapsed = time.monotonic() - self._began
        rate = (self._done - self._start) / max(elapsed, 1e-9)
        parts = [f"{self._title} {self._done:,.0f}/{self._total:,.0f} {self._unit}"]
        parts += [self._note] if self._note else [f"{rate:,.2f} {self._unit}/s"]
        parts += [self._left()] if self._left() else []
        return ", ".join(parts)

    def _left(self) -> str:
        """Returns `1m15s left`, of all runs in a series; "" while it is not known."""
        left = self._seconds_left()
        if _series is None:
            return "" if left is None else f"{duration(left)} left"
        # A bar over a part of a run, such as an evaluation, says nothing about it.
        left = _series.seconds_left(left if self._is_whole_run else None)
        return "" if left is None else f"{duration(left)} left for all runs"

    def _seconds_left(self) -> float | None:
        """Returns the time left of this bar; None while it is not known."""
        if self._first is None or self._num_pieces < _PIECES_BEFORE_TIME_LEFT:
            return None
        done, began = self._first
        seconds = time.monotonic() - began
        return (self._total - self._done) * seconds / max(self._done - done, 1e-9)

    def close(self) -> None:
        if self._live:
            self._live.stop()


@contextlib.contextmanager
def progress(
    title: str,
    total: float,
    *,
    done: float = 0,
    unit: str,
    is_whole_run: bool = False,
) -> Iterator[_Bar]:
    """Shows a progress bar, or plain lines without a terminal, over a block.

    Args: total, done: in `unit`s; done is where resumed work starts. is_whole_run: the
          block is nearly all of a run.
    """
    bar = _Bar(title, total, done, unit, is_whole_run=is_whole_run)
    try:
        yield bar
    finally:
        bar.close()


def counted(number: int, noun: str) -> str:
    """Returns `1 label` or `2,000 labels`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Returns `1m15s` for 75.2."""
    if seconds == float("inf"):
        return "?"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of text, whose columns are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(x.ljust(n) for x, n in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def size(num_bytes: float) -> str:
    """Returns `1.5 GB` for 1,500,000,000."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while num_bytes >= 999.5 and len(units) > 1:
        num_bytes /= 1000
        del units[0]
    return f"{num_bytes:.3g} {units[0]}"


def confirm(question: str) -> bool:
    """Asks the user, and returns whether the answer is yes; no input means no."""
    say(f"{question} [y/N]")
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        return False


def flush() -> None:
    """Writes what the streams still hold, before the process ends abruptly."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            _discard(stream)
