"""Disks that are full or read-only: existing files stay, and errors name the path."""

import contextlib
import errno
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.breaking import ROOT, check_bit_equal, files_of, finish, start
from gpt1_jax import convert, files, report, score, submit
from gpt1_jax.cli import app
from gpt1_jax.config import ModelConfig, RunConfig
from gpt1_jax.data.text import preparation, recipes
from gpt1_jax.evaluation import predictions
from gpt1_jax.evaluation.predictions import Prediction
from gpt1_jax.interop import weights
from gpt1_jax.workdirs import model_store
from gpt1_jax.workdirs.metrics_log import MetricsLog
from gpt1_jax.workdirs.tensorboard import EventFile
from tests import command_lines
from tests.processes import run_module
from tests.reporting.workdirs import put, put_finetuned


@contextlib.contextmanager
def small_disk(path: Path, size: str, *options: str):
    """Mounts a file system in memory; skips the test where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    arguments = ["-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs"]
    mounted = subprocess.run(
        ["mount", *arguments, path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)


def test_a_disk_that_fills_up_while_training_stops_the_run_which_goes_on_later(
    cache_dir, unbroken, tmp_path
):
    with small_disk(tmp_path / "disk", "8m") as disk:
        workdir = disk / "run"
        filler = disk / "filler"
        finish(start(workdir, cache_dir, kill=("a step", 5)), -9)
        saved = files_of(workdir / "checkpoints" / "2")
        before = {path: path.read_bytes() for path in saved}
        assert before
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 12))
                file.flush()
        output = finish(start(workdir, cache_dir), 1)
        assert f"error: {workdir}" in output or f"while writing {workdir}" in output
        assert "No space left" in output or "RESOURCE_EXHAUSTED" in output
        # orbax's own threads may print a traceback; this package prints none. The
        # environment may lie in the clone, so its path alone does not tell which it is.
        assert f'File "{ROOT}/gpt1_jax/' not in output
        assert {path: path.read_bytes() for path in before} == before

        remount(disk, "ro")
        output = finish(start(workdir, cache_dir), 1)
        assert "Read-only file system" in output
        assert f"{workdir}" in output
        assert {path: path.read_bytes() for path in before} == before

        remount(disk, "rw")
        filler.unlink()
        finish(start(workdir, cache_dir), 0)
        check_bit_equal(workdir, unbroken)


def fill(disk: Path, left: int) -> None:
    """Fills a disk except for `left` bytes."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", 0) as file:
        while True:
            file.write(bytes(1 << 12))
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - left)


def check_full(disk: Path, capsys, command, *workdirs: Path, **flags: object) -> None:
    """Checks that a command ends in one line on a full disk, and changes nothing."""
    before = {path: path.read_bytes() for path in files_of(disk)}
    capsys.readouterr()
    assert app._run(lambda: command_lines.run(command, *workdirs, **flags)) == 1
    errors = capsys.readouterr().err.splitlines()
    (line,) = [line for line in errors if line.startswith("error: ")]
    assert "No space left" in line or "RESOURCE_EXHAUSTED" in line
    assert f"{disk}" in line
    assert {path: path.read_bytes() for path in files_of(disk)} == before


def test_scores_and_submissions_that_do_not_fit_leave_the_old_ones(
    pretrained_workdir, tmp_path, capsys
):
    text = tmp_path / "text.txt"
    text.write_text("the boat is red.\n" * 300)
    rte = put_finetuned(tmp_path, "rte", "rte", {"accuracy": 0.5})
    rows = [Prediction(i, None, "entailment", (0.5, 0.5)) for i in range(3_000)]
    predictions.write(rte, "test", rows)
    with small_disk(tmp_path / "disk", "64k") as disk:
        (disk / "old.jsonl").write_text("old")
        (disk / "old.zip").write_text("old")
        fill(disk, 4096)
        check_full(
            disk,
            capsys,
            score,
            checkpoint=pretrained_workdir,
            input=text,
            output=disk / "old.jsonl",
            overwrite=True,
        )
        check_full(
            disk,
            capsys,
            submit,
            rte,
            output=disk / "old.zip",
            overwrite=True,
            allow_partial=True,
        )


def test_a_model_that_does_not_fit_is_not_converted(
    pretrained_workdir, tmp_path, capsys
):
    """orbax's threads are noisy when they fail, so --from has its own process."""
    given, to = tmp_path / "given", "huggingface"
    command_lines.run(convert, input=pretrained_workdir, output=given, to=to)
    with small_disk(tmp_path / "disk", "256k") as disk:
        out = disk / "out"
        fill(disk, 16384)
        check_full(disk, capsys, convert, input=pretrained_workdir, output=out, to=to)
        arguments = [f"--from={to}", f"--input={given}", f"--output={out}"]
        ended = run_module("gpt1_jax.convert", arguments, tmp_path)
        errors = ended.stderr
        assert ended.returncode == 1, errors
        assert re.search(rf"^error: .*{disk}", errors, re.MULTILINE), errors
        assert f'File "{ROOT}/gpt1_jax/' not in errors
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_release_that_does_not_fit_is_not_exported(tmp_path, capsys):
    config = RunConfig(
        model=ModelConfig(num_layers=1, width=64, num_heads=1, mlp_width=256)
    )
    shapes = weights.expected_shapes(config.model, 99)
    params = {path: np.ones(shape, np.float32) for path, shape in shapes.items()}
    given = tmp_path / "given"
    found = weights.Weights(params, config.model)
    model_store.create(given, config, found.tree, None, {})
    with small_disk(tmp_path / "disk", "256k") as disk:
        fill(disk, 65536)
        check_full(disk, capsys, convert, input=given, output=disk / "out", to="openai")
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_report_that_does_not_fit_leaves_the_old_one(tmp_path, capsys):
    rows = [{"step": n, "train/loss": 9 / n, "eval/loss": 8 / n} for n in (1, 2, 3)]
    run = put(tmp_path, "pretrain", {"eval/perplexity": 20.0}, rows)
    with small_disk(tmp_path / "disk", "1m") as disk:
        command_lines.run(report, run, output=disk / "report")
        assert (disk / "report" / "report.html").is_file()
        assert list((disk / "report").glob("*.png"))
        (run / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n")
        for left in (0, 40960):  # not even a figure, and not all files
            fill(disk, left)
            check_full(disk, capsys, report, run, output=disk / "report")


class FullFile:
    """A file on a full disk, whose errors do not name it."""

    def write(self, data) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flush = close = fsync = write


def no_space(*_, **__) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_without_a_path_gets_one(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left") as info:
        files.write_atomically(path, "new")
    assert info.value.__notes__ == [f"while writing {path}"]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_on_a_full_disk_fails_and_does_not_hang(tmp_path):
    """tensorboardX's own writer would wait without end for its dead thread."""
    log = MetricsLog(tmp_path, 0)
    log.write(1, {"train/loss": 1.0})
    log._file.close()
    log._file = FullFile()
    with pytest.raises(OSError, match="No space left") as info:
        log.write(2, {"train/loss": 1.0})
    assert info.value.__notes__ == [f"while writing {tmp_path}/metrics.jsonl"]
    log._events.close()

    events = EventFile(tmp_path, 1)
    events._events._py_recordio_writer._writer.close()
    events._events._py_recordio_writer._writer = FullFile()
    with pytest.raises(OSError, match="No space left") as info:
        events.add_scalars({"train/loss": 1.0}, 3)
    assert info.value.__notes__ == [f"while writing {tmp_path}"]


def test_a_store_that_does_not_fit_leaves_no_partial_files(
    make_config, tmp_path, monkeypatch
):
    recipe = recipes.make_recipe(make_config().data)
    output = tmp_path / "store"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left") as info:
            preparation.prepare(recipe, output)
    assert f"while writing {tmp_path}" in info.value.__notes__[0]
    assert not output.exists()
    store = preparation.prepare(recipe, output)
    assert store.directory == output
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
