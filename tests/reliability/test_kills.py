"""Runs killed at the worst moments end like uninterrupted ones when repeated."""

import csv
from pathlib import Path

from benchmarks.breaking import check_bit_equal, finish, rows, start

SIGKILLED = -9


def steps(workdir: Path) -> list[str]:
    directory = workdir / "checkpoints"
    return sorted(path.name for path in directory.iterdir() if path.name.isdigit())


def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(
    unbroken, tmp_path
):
    """During preparation, inside a save, before its commit, inside a step, at the end.

    In a cache of its own, so that the corpus is prepared again too.
    """
    workdir, cache_dir = tmp_path / "run", tmp_path / "cache"
    kill = ("a store is put together", 1)
    finish(start(workdir, cache_dir, kill=kill), SIGKILLED)
    assert not workdir.exists()

    finish(start(workdir, cache_dir, kill=("a save", 2)), SIGKILLED)
    assert steps(workdir) == ["2"]

    kill = ("between save and commit", 2)
    finish(start(workdir, cache_dir, kill=kill), SIGKILLED)
    assert steps(workdir) == ["2", "4"]

    output = finish(start(workdir, cache_dir, kill=("a step", 5)), SIGKILLED)
    assert f"resuming {workdir} at step 4" in output
    assert not (workdir / "result.json").exists()

    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "tor')  # as if killed within a write
    kill = ("a result is written", 1)
    finish(start(workdir, cache_dir, kill=kill), SIGKILLED)
    assert [row["step"] for row in rows(workdir)] == list(range(1, 13))

    output = finish(start(workdir, cache_dir), 0)
    assert f"resuming {workdir} at step 12" in output
    check_bit_equal(workdir, unbroken)
    assert (workdir / "result.json").is_file()


def test_a_killed_sweep_continues_with_the_unfinished_runs(
    cache_dir, unbroken, tmp_path
):
    sweep = {"module": "gpt1_jax.sweep", "train__max_steps": 4}
    axis = "--axis=seed=0,1"
    finished, killed = tmp_path / "finished", tmp_path / "killed"
    finish(start(finished, cache_dir, axis, **sweep), 0)
    # Two saves are the first cell's; the third is the other's first.
    kill = ("a save", 3)
    finish(start(killed, cache_dir, axis, kill=kill, **sweep), SIGKILLED)
    first = (killed / "seed=0" / "result.json").read_bytes()
    assert not (killed / "sweep.csv").exists()
    finish(start(killed, cache_dir, axis, **sweep), 0)
    assert (killed / "seed=0" / "result.json").read_bytes() == first
    for cell in ("seed=0", "seed=1"):
        check_bit_equal(killed / cell, finished / cell)
    assert rows(killed / "seed=0") != rows(killed / "seed=1")
    with (killed / "sweep.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "done"]
