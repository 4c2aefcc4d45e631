"""docs/paper_settings.md agrees with the code."""

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


@pytest.mark.parametrize("row", NO_FIELDS, ids=lambda row: row["what"])
def test_constant_is_in_the_file_that_the_page_names(row):
    source = (ROOT / row["where"].strip("`")).read_text()
    for number in re.findall(r"0\.\d+|1e-\d+", row["what"] + row["value"]):
        assert number in source
