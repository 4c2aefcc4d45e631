"""The files of a workdir, and its lock."""

import os

import pytest

from gpt1_jax.workdirs import workdir as workdir_lib


def test_a_locked_workdir_is_refused_with_the_number_of_its_process(tmp_path):
    with (
        workdir_lib.lock(tmp_path / "run"),
        pytest.raises(ValueError, match=f"in use by process {os.getpid()}; one at"),
        workdir_lib.lock(tmp_path / "run"),
    ):
        raise AssertionError("two processes locked the workdir")


def test_a_workdir_is_free_again_after_its_lock(tmp_path):
    for _ in range(2):
        with workdir_lib.lock(tmp_path):
            assert (tmp_path / ".lock").read_text() == str(os.getpid())
