"""docs/paper_settings.md agrees with the code; other fields have fixed defaults."""

import re

import pytest

from experiments import finetune, pretrain
from gpt1_jax import config as config_lib
from tests.docs_pages import ROOT, tables

PRETRAINING, FINETUNING, NO_FIELDS = tables(ROOT / "docs/paper_settings.md")
CONFIGS = {
    "pretrain": config_lib.from_mapping(pretrain.get_config("paper")),
    "finetune": config_lib.from_mapping(finetune.get_config("rte,paper")),
}
# The defaults of the fields that the page does not name.
OTHERS = {
    "job": "pretrain",
    "seed": 0,
    "model.lstm_width": 2048,
    "model.backbone": "transformer",
    "model.classifier_dropout": 0.1,
    "model.attention": "auto",
    "model.compute_dtype": "auto",
    "data.corpus": "",
    "data.eval_corpus": "",
    "data.documents": "auto",
    "data.text_column": "",
    "data.lowercase": True,
    "data.strip_gutenberg": True,
    "data.windows": "contiguous",
    "data.train_file": "",
    "data.dev_file": "",
    "data.label_column": "",
    "data.text_columns": "",
    "data.answer_columns": "",
    "data.label_kind": "auto",
    "data.holdout_fraction": 0.01,
    "data.tokenizer": "sentencepiece",
    "data.task_dir": "",
    "data.source": "files",
    "data.tfds_dir": "~/tensorflow_datasets",
    "data.cache_dir": "~/.cache/gpt1_jax",
    "data.openai_bpe_dir": "",
    "data.storyworld_seed": 0,
    "data.storyworld_megabytes": 2.0,
    "train.eval_batch_size": 64,
    "train.max_steps": 0,
    "train.accumulation_steps": 1,
    "train.log_every_steps": 100,
    "train.eval_every_steps": 10000,
    "train.checkpoint_every_steps": 2000,
    "train.keep_checkpoints": 2,
    "train.keep_at_steps": (),
    "train.early_stopping_patience": 0,
    "train.keeps_best": False,
    "train.tracker": "none",
    "train.remat": False,
    "train.profile_steps": 0,
    "optim.warmup_fraction": 0.0,
    "task.name": "",
    "task.lm_coef": 0.5,
    "task.graded_target": "soft6",
    "task.split": "dev",
    "task.num_train_scored": 0,
    "init.path": "none",
    "init.num_layers": -1,
    "mesh.fsdp": False,
    "mesh.distributed": "auto",
    "mesh.coordinator_address": "",
    "mesh.num_processes": 1,
    "mesh.process_id": 0,
    "mesh.start_seconds": 50,
}
ROWS = [("pretrain", row) for row in PRETRAINING]
ROWS += [("finetune", row) for row in FINETUNING]


def test_tables_are_complete():
    assert len(PRETRAINING) == 20
    assert len(FINETUNING) == 9
    # The second table lists each field that differs between the two configs.
    flat = {name: config_lib.flatten(config) for name, config in CONFIGS.items()}
    differing = {
        path
        for path, value in flat["pretrain"].items()
        if path.startswith(("model.", "optim.")) and value != flat["finetune"][path]
    }
    assert differing <= {row["field"].strip("`") for row in FINETUNING}


@pytest.mark.parametrize(("job", "row"), ROWS, ids=lambda x: str(x)[:30])
def test_field_has_the_value_that_the_page_gives(job, row):
    value = config_lib.flatten(CONFIGS[job])[row["field"].strip("`")]
    assert value == type(value)(row["value"])


def test_pretraining_settings_are_the_defaults():
    assert CONFIGS["pretrain"] == config_lib.RunConfig()


def test_each_field_is_on_the_page_or_has_the_default_above():
    defaults = config_lib.flatten(config_lib.RunConfig())
    on_page = {row["field"].strip("`") for row in PRETRAINING}
    assert {x: y for x, y in defaults.items() if x not in on_page} == OTHERS


@pytest.mark.parametrize("row", NO_FIELDS, ids=lambda row: row["what"])
def test_constant_is_in_the_file_that_the_page_names(row):
    source = (ROOT / row["where"].strip("`")).read_text()
    for number in re.findall(r"0\.\d+|1e-\d+", row["what"] + row["value"]):
        assert number in source
