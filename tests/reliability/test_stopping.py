"""Signals to whole processes: finished steps are saved, and the stop is quick."""

import signal
import time

import pytest

from benchmarks.breaking import check_bit_equal, finish, rows, start

PREEMPTED = 75


def wait_for(what, process) -> None:
    while not what():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def test_sigterm_in_an_evaluation_saves_and_the_resume_evaluates_again(
    cache_dir, unbroken, tmp_path
):
    workdir = tmp_path / "run"
    process = start(workdir, cache_dir)
    wait_for((workdir / "checkpoints" / "4").is_dir, process)
    metrics = workdir / "metrics.jsonl"
    # Row 5 is written when step 6 has begun; its evaluation has hundreds of batches.
    wait_for(lambda: metrics.read_text().count("\n") >= 5, process)
    process.send_signal(signal.SIGTERM)
    output = finish(process, PREEMPTED)
    assert "stopped at step 6 and saved" in output
    assert [("eval/loss" in row) for row in rows(workdir)] == [False] * 6
    output = finish(start(workdir, cache_dir), 0)
    assert f"resuming {workdir} at step 6" in output
    check_bit_equal(workdir, unbroken)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_training_ends_in_order(number, tmp_path):
    process = start(tmp_path / "run", tmp_path / "cache", data__storyworld_megabytes=8)
    # It has begun to write books, which takes longer than a moment.
    wait_for((tmp_path / "cache" / "storyworld").exists, process)
    process.send_signal(number)
    output = finish(process, PREEMPTED)
    assert "interrupted; the same command resumes where this one stopped" in output
    assert "Traceback" not in output
