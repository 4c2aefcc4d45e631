"""The fields that a job inherits from the model in config.init.path."""

import dataclasses

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
