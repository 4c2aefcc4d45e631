"""Disks that are full or read-only: existing files stay, and errors name the path."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.breaking import ROOT, check_bit_equal, files_of, finish, start
from gpt1_jax import files
from gpt1_jax.data.text import preparation, recipes
from gpt1_jax.workdirs import checksums
from gpt1_jax.workdirs.metrics_log import MetricsLog
from gpt1_jax.workdirs.tensorboard import EventFile


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
        patched.setattr(checksums.os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left") as info:
            preparation.prepare(recipe, output)
    assert f"while writing {tmp_path}" in info.value.__notes__[0]
    assert not output.exists()
    store = preparation.prepare(recipe, output)
    assert store.directory == output
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
