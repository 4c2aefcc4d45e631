"""What commands show, on outputs that are closed, full or not UTF-8."""

import os
import subprocess
import sys

import pytest

_TALKATIVE = """
import sys
from gpt1_jax import terminal
for number in range(10_000):
    terminal.say(f"line {number}, café")
terminal.write_result("café")
"""


@pytest.mark.parametrize("kind", ["pipe", "full"])
def test_messages_are_no_reason_to_stop_but_a_lost_result_is(kind):
    if kind == "pipe":
        reader, output = os.pipe()
        os.close(reader)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    ran = subprocess.run(
        [sys.executable, "-c", _TALKATIVE], stdout=output, stderr=subprocess.PIPE
    )
    os.close(output)
    *_, last = ran.stderr.decode().splitlines()
    assert last.startswith("gpt1_jax.errors.RunFailed: standard output: ")
    assert last.endswith("; keep its reader open, or write it to another file")
    assert ran.returncode == 1


def test_output_that_is_not_utf8_shows_other_characters_by_number():
    ran = subprocess.run(
        [sys.executable, "-c", _TALKATIVE],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert ran.stdout.endswith(b"line 9999, caf\\xe9\ncaf\\xe9")
