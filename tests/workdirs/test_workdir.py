"""The files of a workdir, and its lock."""

import os

import pytest

from gpt1_jax.workdirs import session
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


def test_a_workdir_that_was_deleted_during_its_run_gets_no_result(tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(RuntimeError, match=r"run was deleted or moved during the run"):
        session.write_result(workdir, "pretrain", steps=3, metrics={}, began=0.0)
    assert not workdir.exists()


def test_checkpoints_without_a_config_are_an_incomplete_workdir(tmp_path):
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    message = r"is incomplete: .* no config.json; .* restore config.json from a copy"
    with pytest.raises(FileNotFoundError, match=message):
        workdir_lib.read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3"])
def test_a_damaged_result_is_an_error_with_a_remedy(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ValueError, match=r"result.json is damaged: .*; delete it, and"):
        workdir_lib.read_result(tmp_path)
