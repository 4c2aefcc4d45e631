"""Locks, names and writable directories."""

import errno
import fcntl
import os

import pytest

from gpt1_jax import files


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path, monkeypatch, capsys, number
):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.exclusive(tmp_path / "lock"):
        assert (
            f"warning: {tmp_path} is on a file system without locks"
            in capsys.readouterr().out
        )


def test_a_lock_that_another_holds_is_refused_and_other_errors_stay(
    tmp_path, monkeypatch
):
    with files.exclusive(tmp_path / "lock"), (tmp_path / "lock").open("a") as again:
        with pytest.raises(BlockingIOError):
            files.lock(again, waits=False)
        monkeypatch.setattr(fcntl, "flock", os.close)
        with pytest.raises(TypeError):
            files.lock(again)


def test_hidden_files_of_long_names_differ_and_fit(tmp_path):
    long = [tmp_path / (end + "a" * 250) for end in "xy"]
    hidden = {files.hidden_beside(path, ".lock").name for path in long}
    assert len(hidden) == 2
    assert max(map(len, hidden)) <= 255
    assert files.hidden_beside(tmp_path / "a", ".lock").name == ".a.lock"
    with files.atomic_directory(long[0]) as part:
        (part / "x").write_text("")
    assert (long[0] / "x").is_file()


def test_a_directory_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"x cannot be made, as .*file is a file; .*do"
    ):
        files.check_writable(tmp_path / "file/x", "do something")
