"""A run of several processes, as README starts one, beside the same run of one."""

import itertools
import re
import signal
import socket
from pathlib import Path

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax.evaluation import predictions
from gpt1_jax.workdirs import workdir as workdir_lib
from tests.jobs.runs import finish, losses, rows_without_clock, start, wait_for_rows

GLOO = (
    r"\[Gloo\] Rank ?|"
    r"\d+ is connected to \d+ peer ranks\. |"
    r"Expected number of connected peer ranks is : \d+"
)
LONGER = {"train__max_steps": 30, "train__checkpoint_every_steps": 0}


def start_together(
    count: int, workdir: Path, cache_dir: Path, devices: int, **overrides
) -> list:
    """The processes of one run, which find each other by an address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    return [
        start(
            workdir,
            cache_dir,
            devices,
            mesh__coordinator_address=address,
            mesh__num_processes=count,
            mesh__process_id=number,
            **LONGER | overrides,
        )
        for number in range(count)
    ]


def printed(output: str) -> list[str]:
    """The lines that are not the collectives library's, nor of JAX once it has ended.

    Gloo writes a line in pieces and from several threads, so its pieces may be mixed.
    On a busy machine the first process may be gone before the others have said goodbye;
    then JAX logs that, over several lines.
    """
    ours = itertools.takewhile(
        lambda line: not re.match(r"[WE]\d{4} .*UNAVAILABLE", line),
        re.sub(GLOO, "", output).splitlines(),
    )
    return [line for line in ours if line.strip()]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> tuple[Path, Path]:
    """A finished run, and the cache that it used."""
    directory = tmp_path_factory.mktemp("one")
    finish(start(directory / "run", directory / "cache", **LONGER))
    return directory / "run", directory / "cache"


def test_two_processes_stop_together_and_four_go_on_as_one_would(one_process, tmp_path):
    alone, cache_dir = one_process
    workdir = tmp_path / "run"
    # State shared out over four devices of two processes, then a copy on each of four.
    first, second = start_together(2, workdir, cache_dir, 2, mesh__fsdp=True)
    wait_for_rows(workdir / "metrics.jsonl", 2)
    second.send_signal(signal.SIGTERM)
    outputs = [process.communicate()[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [75, 75], outputs
    saved = [int(path.name) for path in (workdir / "checkpoints").iterdir()]
    # They agree at each tenth step, and within the evaluation of each fifth.
    assert saved in ([5], [10], [15], [20])
    assert "devices: 4 x cpu on 2 hosts" in outputs[0]
    assert f"stopped at step {saved[0]} and saved" in outputs[0]
    assert printed(outputs[1]) == ["stopping after this step; once more stops at once"]
    # Nor, after what JAX may have logged, anything that the first prints.
    assert not set(printed(outputs[0])) & set(outputs[1].splitlines())
    assert len(list(workdir.glob("events.out.tfevents.*"))) == 1

    model = gpt1_jax.load(workdir)  # in this one process
    assert model.step == saved[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))

    outputs = [
        finish(process)
        for process in start_together(4, workdir, cache_dir, 1, mesh__fsdp=False)
    ]
    assert f"resuming {workdir} at step {saved[0]}" in outputs[0]
    assert [printed(output) for output in outputs[1:]] == [[]] * 3
    rows = rows_without_clock(workdir)
    assert [row["step"] for row in rows] == list(range(1, 31))
    np.testing.assert_allclose(losses(workdir), losses(alone), rtol=1e-5)
    assert np.ptp(losses(alone)) > 0.1
    for name in ("eval/loss", "eval/perplexity"):
        np.testing.assert_allclose(
            rows[-1][name], rows_without_clock(alone)[-1][name], rtol=1e-5
        )


def test_a_process_that_finds_no_others_says_what_to_set(tmp_path):
    process = start(tmp_path / "run", tmp_path / "cache", mesh__distributed="on")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "error: config.mesh.distributed=on, but this process finds no" in output
    assert "Traceback" not in output
    assert "set config.mesh.coordinator_address" in output


def test_a_mistake_that_the_first_process_finds_ends_all(one_process, tmp_path):
    """A corpus that is not there, and a workdir that another run is in."""
    _, cache_dir = one_process
    processes = start_together(
        2, tmp_path / "run", cache_dir, 1, data__corpus="no_such_directory"
    )
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    (line,) = printed(outputs[1])
    assert re.match("error: process 0 of 2 on .*: no file matches 'no_such", line)

    with workdir_lib.lock(tmp_path / "held"):
        processes = start_together(2, tmp_path / "held", cache_dir, 1)
        outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    assert "held is in use by process" in outputs[0]


def ends(processes: list) -> list[tuple[int | None, str]]:
    """The exit code of each process, and its last line."""
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    return [
        (process.returncode, printed(output)[-1] if printed(output) else "")
        for process, output in zip(processes, outputs, strict=True)
    ]


def test_processes_of_other_steps_end_before_they_start(one_process, tmp_path):
    _, cache_dir = one_process
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    pair = [
        start(
            tmp_path / "run",
            cache_dir,
            mesh__coordinator_address=address,
            mesh__num_processes=2,
            mesh__process_id=number,
            train__max_steps=10 + number,
        )
        for number in (0, 1)
    ]
    for code, line in ends(pair):
        assert code == 2, line
        assert "config.train.max_steps=10 on process 0, 11 on process 1; all" in line
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_in_training_ends_the_other(
    killed, one_process, tmp_path
):
    _, cache_dir = one_process
    pair = start_together(
        2, tmp_path / "run", cache_dir, 1, train__max_steps=100_000, seed=killed
    )
    wait_for_rows(tmp_path / "run" / "metrics.jsonl", 2)
    pair[killed].kill()
    code, line = ends(pair)[1 - killed]
    assert code == 1, line
    assert line.startswith(f"error: process {killed} of 2 on ")
    assert "ended without a message, as if killed or out of memory" in line


def test_two_processes_fine_tune_and_predict_as_one_does(one_process, tmp_path):
    trained, cache_dir = one_process
    changes = {
        "experiment": "finetune.py:rte",
        "init__path": trained,
        "data__task_dir": "storyworld",
        "train__max_steps": 3,
        "train__batch_size": 8,
        "optim__warmup_steps": 0,
    }
    pair = start_together(2, tmp_path / "two", cache_dir, 1, **changes)
    outputs = [finish(process) for process in pair]
    assert printed(outputs[1]) == []
    finish(start(tmp_path / "one", cache_dir, **LONGER | changes))
    one, two = (predictions.read(tmp_path / name, "dev") for name in ("one", "two"))
    assert [row.label for row in one] == [row.label for row in two]
    likely = [np.array([row.probabilities for row in rows]) for rows in (one, two)]
    np.testing.assert_allclose(*likely, atol=1e-6)
    assert np.ptp(likely[0][:, 0]) > 5e-5
