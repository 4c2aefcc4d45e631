"""The fields that a job inherits from the model in config.init.path."""

import dataclasses

import pytest

from gpt1_jax import config as config_lib
from gpt1_jax.config import ModelConfig, RunConfig, TaskConfig
from gpt1_jax.workdirs import starting_point
from gpt1_jax.workdirs import workdir as workdir_lib


def test_only_an_evaluation_inherits_the_task(tmp_path):
    own = RunConfig(
        job="finetune", model=ModelConfig(width=96), task=TaskConfig(name="rte")
    )
    workdir_lib.write_config(tmp_path, own)
    inherited = {}
    for job in ("evaluate", "zeroshot", "finetune", "pretrain"):
        config = RunConfig(job=job)
        init = dataclasses.replace(config.init, path=str(tmp_path))
        config = dataclasses.replace(config, init=init)
        inherited[job] = starting_point.with_inherited(config, tmp_path / job)
    assert {job: config.task.name for job, config in inherited.items()} == {
        "evaluate": "rte",
        "zeroshot": "",
        "finetune": "",
        "pretrain": "",
    }
    assert {config.model.width for config in inherited.values()} == {96}


@pytest.mark.parametrize(
    ("path", "given", "message"),
    [
        ("model.width", 64, r"model.width=64, but the model in .* has 96; .* drop the"),
        ("model.backbone", "lstm", r"backbone=lstm, but the model in .* transformer;"),
        (
            "data.vocab_size",
            500,
            r"vocab_size=500, but the tokenizer comes from",
        ),
        ("data.tokenizer", "x", r"tokenizer=x, but the tokenizer comes from .*; drop"),
        ("data.lowercase", False, r"lowercase=False, but the tokenizer comes from"),
        ("model.width", 96, ""),
        ("data.vocab_size", 800, ""),
        ("data.tokenizer", "openai", ""),
    ],
)
def test_overrides_that_differ_from_the_model_are_refused(
    tmp_path, path, given, message
):
    own = {"model.width": 96, "data.vocab_size": 800, "data.tokenizer": "openai"}
    workdir_lib.write_config(tmp_path, config_lib.replace(RunConfig(), own))
    fields = {"init.path": str(tmp_path), path: given}
    config = config_lib.replace(RunConfig(), fields)
    if not message:
        starting_point.check_overrides(config, [path])
        return
    with pytest.raises(ValueError, match=message):
        starting_point.check_overrides(config, [path])
