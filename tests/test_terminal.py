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


def test_sizes_have_three_digits_and_a_unit():
    sizes = {
        0: "0 B",
        999: "999 B",
        1000: "1 kB",
        1_494_000: "1.49 MB",
        2e15: "2e+03 TB",
    }
    assert {size: terminal.size(size) for size in sizes} == sizes
