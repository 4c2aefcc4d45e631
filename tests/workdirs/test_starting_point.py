"""The fields that a job inherits from the model in config.init.path."""

import dataclasses

import pytest

from gpt1_jax.config import ModelConfig, RunConfig, TaskConfig
from gpt1_jax.workdirs import starting_point
from gpt1_jax.workdirs import workdir as workdir_lib


def test_only_an_evaluation_inherits_the_task(tmp_path):
    own = RunConfig(
        job="finetune", model=ModelConfig(width=96), task=TaskConfig(name="rte")
    )
    workdir_lib.write_config(tmp_path, own)
    inherited = {}
    for job in ("evaluate", "zeroshot", "finetune"):
        config = RunConfig(job=job)
        init = dataclasses.replace(config.init, path=str(tmp_path))
        config = dataclasses.replace(config, init=init)
        inherited[job] = starting_point.with_inherited(config, tmp_path / job)
    assert {job: config.task.name for job, config in inherited.items()} == {
        "evaluate": "rte",
        "zeroshot": "",
        "finetune": "",
    }
    assert {config.model.width for config in inherited.values()} == {96}


@pytest.mark.parametrize("name", ["tokenizer", "vocab_size", "lowercase"])
def test_settings_of_the_tokenizer_are_not_overridden(name, tmp_path):
    workdir_lib.write_config(tmp_path, RunConfig())
    config = RunConfig(job="finetune")
    init = dataclasses.replace(config.init, path=str(tmp_path))
    config = dataclasses.replace(config, init=init)
    message = rf"config.data.{name} is set, but the tokenizer comes from .*; drop the"
    with pytest.raises(ValueError, match=message):
        starting_point.check_overrides(config, [f"data.{name}"])
