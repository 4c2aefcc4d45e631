"""What commands show, on outputs that are closed, full or not UTF-8."""

import os
import subprocess
import sys

import pytest

from gpt1_jax import terminal

_MESSAGES = """
from gpt1_jax import terminal
for number in range(10_000):
    terminal.say(f"line {number}, café")
"""
_RESULT = """
from gpt1_jax import terminal
terminal.write_result("café")
"""


def lose_output(kind: str, script: str) -> subprocess.CompletedProcess[bytes]:
    """Runs `script` with a standard output that is closed, or full."""
    if kind == "pipe":
        reader, output = os.pipe()
        os.close(reader)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    try:
        argv = [sys.executable, "-c", script]
        return subprocess.run(argv, stdout=output, stderr=subprocess.PIPE)
    finally:
        os.close(output)


@pytest.mark.parametrize("kind", ["pipe", "full"])
def test_lost_messages_stop_nothing_but_a_lost_result_does(kind):
    ran = lose_output(kind, _MESSAGES)
    assert ran.returncode == 0
    assert not ran.stderr
    ran = lose_output(kind, _RESULT)
    *_, last = ran.stderr.decode().splitlines()
    assert last.startswith("gpt1_jax.errors.RunFailed: standard output: ")
    assert last.endswith("; keep its reader open, or write it to another file")
    assert ran.returncode == 1


def test_output_that_is_not_utf8_shows_other_characters_by_number():
    ran = subprocess.run(
        [sys.executable, "-c", _MESSAGES + _RESULT],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert ran.stdout.endswith(b"line 9999, caf\\xe9\ncaf\\xe9")


@pytest.fixture
def clock(monkeypatch, capsys):
    """A clock that stands still, and plain lines at each step."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(terminal, "_PLAIN_LINE_EVERY_SECONDS", 0.0)
    return now


def advance(bar, clock, seconds: float) -> None:
    clock[0] += seconds
    bar.advance()


def test_time_left_is_told_once_it_is_known_and_without_compilation(clock, capsys):
    with terminal.progress("training", 100, unit="steps") as bar:
        advance(bar, clock, 60)  # compiles
        for _ in range(4):
            advance(bar, clock, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("steps/s")[2] for line in lines] == [
        "",
        "",
        "",
        ", 3m12s left",
        ", 3m10s left",
    ]


def test_time_left_in_a_series_is_that_of_all_runs(clock, capsys):
    with terminal.series(3) as series:
        with terminal.progress("reading", 9, unit="rows") as bar:
            for _ in range(9):
                advance(bar, clock, 0)
        assert "left" not in capsys.readouterr().out
        assert series.seconds_left() is None
        with terminal.progress("training", 10, unit="steps", is_whole_run=True) as bar:
            for _ in range(5):
                advance(bar, clock, 4)
            # 20 s have passed, 20 s are left, and two runs of 40 s.
            assert capsys.readouterr().out.endswith(", 1m40s left for all runs\n")
            clock[0] += 30
        series.end_run()
        assert series.seconds_left() == 100
        clock[0] += 10
        with terminal.progress("evaluating", 10, unit="rows") as bar:
            for _ in range(5):
                advance(bar, clock, 1)
            assert capsys.readouterr().out.endswith(", 1m25s left for all runs\n")
        series.end_run()
        assert series.seconds_left() == 32.5


def test_one_of_a_thing_is_not_many():
    assert [terminal.counted(n, "label") for n in (0, 1, 2000)] == [
        "0 labels",
        "1 label",
        "2,000 labels",
    ]


def test_sizes_have_three_digits_and_a_unit():
    sizes = {
        0: "0 B",
        999: "999 B",
        1000: "1 kB",
        1_494_000: "1.49 MB",
        2e15: "2e+03 TB",
    }
    assert {size: terminal.size(size) for size in sizes} == sizes
