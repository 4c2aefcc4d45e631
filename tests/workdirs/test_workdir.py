"""The files of a workdir, and its lock."""

import json
import os

import pytest

from gpt1_jax.config import RunConfig
from gpt1_jax.workdirs import workdir as workdir_lib


def test_second_holder_is_refused_and_told_who_is_first(tmp_path):
    with (
        workdir_lib.hold(tmp_path / "run"),
        pytest.raises(ValueError, match=f"in use by process {os.getpid()}; one at"),
        workdir_lib.hold(tmp_path / "run"),
    ):
        raise AssertionError("two hold the workdir")


def test_workdir_is_free_again_after_its_holder(tmp_path):
    for _ in range(2):
        with workdir_lib.hold(tmp_path):
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
