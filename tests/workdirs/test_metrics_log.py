"""metrics.jsonl across resumes and torn lines."""

import json
import os

import pytest
from tensorboardX.proto.event_pb2 import SessionLog

from gpt1_jax.distributed import multihost
from gpt1_jax.workdirs import metrics_log
from gpt1_jax.workdirs.metrics_log import MetricsLog
from tests.event_files import events_in


def write(workdir, resumed_step: int, *steps: int) -> None:
    with MetricsLog(workdir, resumed_step) as log:
        for step in steps:
            log.write(step, {"train/loss": step / 7, "train/rate": 0.1})


def steps_of(workdir) -> list[int]:
    """Returns the rows that any reader of JSON lines finds."""
    text = (workdir / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line)["step"] for line in text.splitlines()]


def test_a_row_is_one_line_and_on_disk_after_its_write(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(3, {"train/loss": 1 / 3, "eval/loss": 2.5})
        text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"step": 3, "train/loss": 1 / 3, "eval/loss": 2.5}
    assert text.count("\n") == 1
    assert list(tmp_path.glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("resumed_step", "kept"), [(0, []), (2, [2]), (5, [2, 4]), (6, [2, 4, 6])]
)
def test_rows_after_the_resumed_step_are_dropped(tmp_path, resumed_step, kept):
    write(tmp_path, 0, 2, 4, 6)
    rows = metrics_log.read(tmp_path / "metrics.jsonl")
    write(tmp_path, resumed_step)
    left = metrics_log.read(tmp_path / "metrics.jsonl")
    assert left == [row for row in rows if row["step"] in kept]
    write(tmp_path, resumed_step, 7, 8)
    assert steps_of(tmp_path) == [*kept, 7, 8]


def test_a_resume_that_drops_nothing_leaves_the_file_unchanged(tmp_path):
    write(tmp_path, 0, 2, 4)
    path = tmp_path / "metrics.jsonl"
    before = path.read_bytes(), path.stat().st_ino
    write(tmp_path, 4)
    assert (path.read_bytes(), path.stat().st_ino) == before


@pytest.mark.parametrize(
    ("resumed_step", "steps", "forgotten_from"),
    [(0, (), 0), (0, (2, 4), 0), (2, (2, 4), 3), (1, (2, 4), 2), (0, (0,), 1)],
)
def test_tensorboard_drops_the_steps_that_a_resume_repeats(
    tmp_path, resumed_step, steps, forgotten_from
):
    """A run that starts again drops all steps, also the config's text at step 0."""
    write(tmp_path, 0, *steps)
    for path in tmp_path.glob("events.*"):  # named by the second
        path.unlink()
    write(tmp_path, resumed_step)
    starts = [
        event.step
        for event in events_in(tmp_path)
        if event.session_log.status == SessionLog.START
    ]
    assert starts == [forgotten_from]


@pytest.mark.parametrize(
    "torn", [b"{", b'{"step": 6', b'{"step": 6, "train/loss": 0.', b"\xe2\x82"]
)
def test_a_torn_last_line_is_removed(tmp_path, torn):
    write(tmp_path, 0, 2, 4)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    assert [row["step"] for row in metrics_log.read(path)] == [2, 4]
    write(tmp_path, 4, 6)
    assert steps_of(tmp_path) == [2, 4, 6]


def test_a_last_line_that_lacks_only_its_end_is_completed(tmp_path):
    write(tmp_path, 0, 2, 4)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().removesuffix("\n"))
    assert [row["step"] for row in metrics_log.read(path)] == [2, 4]
    write(tmp_path, 4, 6)
    assert steps_of(tmp_path) == [2, 4, 6]


def test_a_damaged_line_before_the_last_is_an_error_on_resume(tmp_path):
    """The rows before it can be read; a resume would lose those after it."""
    write(tmp_path, 0, 2, 4, 6)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (b"17\n", lines[1].replace(b"step", b"stap"), b"\xff\n"):
        path.write_bytes(lines[0] + damaged + lines[2])
        assert [row["step"] for row in metrics_log.read(path)] == [2]
        with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is not the row"):
            MetricsLog(tmp_path, 6)


def test_the_row_of_the_resumed_step_is_added_where_it_was_lost(tmp_path):
    write(tmp_path, 0, 2, 4)
    with MetricsLog(tmp_path, 6) as log:
        assert (log.last_row, log.num_rows) == ({}, 2)
        log.replace_last({"step": 6, "eval/loss": 1.5})
        assert log.num_rows == 3
        log.write(8, {"train/loss": 1.0})
    assert steps_of(tmp_path) == [2, 4, 6, 8]


def test_rows_are_synced_with_the_name_of_their_file(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with MetricsLog(tmp_path, 0) as log:
        log.write(2, {"train/loss": 1.0})
        log.sync()
    path = tmp_path / "metrics.jsonl"
    assert synced[:2] == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_a_second_process_writes_nothing_and_has_no_tracker(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(metrics_log, "Tracker", lambda *given: made.append(given))
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    with metrics_log.MetricsLog(tmp_path, -1) as log:
        log.write(1, {"train/loss": 2.0})
        assert log.rows == ({"step": 1, "train/loss": 2.0},)
    assert not made
    assert not list(tmp_path.iterdir())
