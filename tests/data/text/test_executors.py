"""Encoding on a Dask cluster of real processes, and its errors."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt1_jax.data.text import executors

ROOT = Path(__file__).parents[3]


def wait_for_json(path: Path) -> dict:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError(f"{path} never came")


@pytest.fixture
def scheduler(tmp_path) -> str:
    """Starts a scheduler and two workers; returns the address of the scheduler."""
    pytest.importorskip("distributed.client")  # the extra `cluster`
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    common = {"cwd": tmp_path, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [
                *dask,
                "scheduler",
                f"--scheduler-file={file}",
                "--port=0",
                "--no-dashboard",
                "--host=127.0.0.1",
            ],
            **common,
        )
    ]
    address = wait_for_json(file)["address"]
    started.append(
        subprocess.Popen(
            [
                *dask,
                "worker",
                address,
                "--nworkers=2",
                "--nthreads=1",
                "--no-dashboard",
                f"--local-directory={tmp_path / 'dask'}",
            ],
            **common,
        )
    )
    yield address
    for process in started:
        process.terminate()
    for process in started:
        process.wait(timeout=60)


def prepare(directory: Path, output: str, *flags: str) -> dict[str, bytes]:
    """Runs the command in `directory`; returns the names and bytes of its store."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gpt1_jax.prepare",
            "--corpus=books/*.txt",
            f"--output={output}",
            "--vocab_size=300",
            *flags,
        ],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(directory)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    store = directory / output
    paths = store.rglob("[!.]*")
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def have_encoded(scheduler: str) -> list[bool]:
    """Returns for each worker whether it has imported the encoding."""
    program = (
        "import distributed, json, sys\n"
        "NAME = 'gpt1_jax.data.text.encoding'\n"
        "def has(): return NAME in __import__('sys').modules\n"
        "with distributed.Client(sys.argv[1]) as client:\n"
        "    print(json.dumps(list(client.run(has).values())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, scheduler],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_cluster_writes_the_bytes_of_one_machine(scheduler, tmp_path):
    (tmp_path / "books").mkdir()
    for number in range(3):  # a group of books each
        text = f"the boat of {number} sank near the pier . " * 110_000
        (tmp_path / f"books/{number}.txt").write_text(text)
    here = prepare(tmp_path, "here")
    assert not any(have_encoded(scheduler))
    assert prepare(tmp_path, "there", f"--dask={scheduler}") == here
    assert all(have_encoded(scheduler))
    # The workers must not reuse cached results of the first run.
    assert prepare(tmp_path, "again", f"--dask={scheduler}") == here


def test_scheduler_that_does_not_answer_is_reported(monkeypatch):
    pytest.importorskip("distributed.client")  # the extra `cluster`
    monkeypatch.setattr(executors, "_CONNECT_SECONDS", 0.2)
    message = r"--dask 127.0.0.1:9: no scheduler answers .*; HOST:PORT of a running"
    with (
        pytest.raises(ValueError, match=message),
        executors.choose(0, "127.0.0.1:9", is_worth_processes=True),
    ):
        raise AssertionError


def test_missing_dask_is_reported_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ValueError, match=r"Dask, which is not installed; pip install"),
        executors.choose(0, "127.0.0.1:9", is_worth_processes=True),
    ):
        raise AssertionError
