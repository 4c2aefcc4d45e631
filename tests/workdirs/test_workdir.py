"""The files of a workdir, and its lock."""

import json
import os

import pytest

from gpt1_jax.config import RunConfig
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


def test_a_config_that_lacks_a_field_is_an_error_that_names_it(tmp_path):
    workdir_lib.write_config(tmp_path, RunConfig(job="pretrain"))
    assert workdir_lib.read_config(tmp_path) == RunConfig(job="pretrain")
    path = tmp_path / "config.json"
    mapping = json.loads(path.read_text())
    del mapping["model"]["width"]
    path.write_text(json.dumps(mapping))
    with pytest.raises(ValueError, match=f"{path}: field config.model.width is miss"):
        workdir_lib.read_config(tmp_path)
