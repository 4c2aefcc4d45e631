import json
from pathlib import Path

import pytest

from gpt1_jax import config as config_lib
from gpt1_jax.config import InitConfig, Role, RunConfig
from gpt1_jax.reporting import paper, runs, words
from gpt1_jax.reporting import scores as scores_lib
from gpt1_jax.reporting.groups import Cell
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.scores import Scored
from tests.reporting.workdirs import (
    LSTM,
    NO_AUXILIARY,
    NOTHING,
    grouped,
    put,
    put_finetuned,
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, paper.FULL),
        ({"init.num_layers": 12}, paper.FULL),  # of 12
        ({"init.num_layers": 11}, "11 of 12 layers"),
        ({"init.num_layers": 0}, "0 of 12 layers"),
        (NOTHING, paper.NO_PRETRAINING),
        ({"init.path": "none"}, paper.NO_PRETRAINING),
        (NO_AUXILIARY, paper.NO_AUXILIARY),
        (NO_AUXILIARY | NOTHING, "no pre-training, no auxiliary LM"),
        (LSTM, paper.LSTM),
        (LSTM | NOTHING, "LSTM, no pre-training"),
        (LSTM | NO_AUXILIARY, "LSTM, no auxiliary LM"),
    ],
)
def test_the_config_says_which_row_of_table_5_a_run_is(fields, expected):
    config_dict = config_lib.to_config_dict(RunConfig(job="finetune"))
    config_dict.update_from_flattened_dict({"init.path": "runs/pretrain"} | fields)
    assert scores_lib.variant(config_lib.from_mapping(config_dict)) == expected


def test_a_cell_is_over_seeds_and_counts_what_has_not_finished(tmp_path):
    for seed, score in enumerate((0.5, 0.75, 0.53)):
        # Of no effect: how often is logged; books, where a tokenizer is taken over.
        fields = {"train.log_every_steps": seed + 1, "data.vocab_size": 300 + seed}
        fields["seed"] = seed
        put_finetuned(tmp_path, str(seed), "rte", {"accuracy": score}, fields=fields)
    put_finetuned(tmp_path, "later", "rte", fields={"seed": 3})
    put_finetuned(tmp_path, "again", "rte", fields={"seed": 2})  # finished elsewhere
    (group,) = grouped(tmp_path)
    cell = group.cell(paper.FULL, "rte", "accuracy")
    assert sorted(cell.values) == [0.5, 0.53, 0.75]
    assert cell.median == 0.53
    assert cell.num_unfinished == 1
    assert (group.label, group.details) == ("", "")
    assert group.cell(paper.FULL, "rte", "f1") == Cell((), 2)
    assert group.cell(paper.FULL, "cola", "matthews") == Cell()
    assert group.cell(paper.NO_AUXILIARY, "rte", "accuracy") == Cell()


def test_two_runs_of_one_seed_count_once(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {"accuracy": 0.25})
    # All layers, as the layer-transfer study writes it.
    fields = {"init.num_layers": 12}
    put_finetuned(tmp_path, "b", "rte", {"accuracy": 0.25}, fields=fields)
    (group,) = grouped(tmp_path)
    assert group.cell(paper.FULL, "rte", "accuracy") == Cell((0.25,))


def test_runs_that_differ_in_more_than_the_seed_never_share_a_cell(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {"accuracy": 0.5})
    fields = {"init.path": "runs/other"}
    put_finetuned(tmp_path, "b", "rte", {"accuracy": 0.7}, fields=fields)
    fields = {"train.max_steps": 128, "seed": 1}
    put_finetuned(tmp_path, "c", "rte", {"accuracy": 0.9}, fields=fields)
    found = grouped(tmp_path)
    cells = {g.label: g.cell(paper.FULL, "rte", "accuracy").values for g in found}
    assert cells == {
        "no step limit, from runs/pretrain": (0.5,),
        "no step limit, from runs/other": (0.7,),
        "128 steps, from runs/pretrain": (0.9,),
    }


def test_another_task_may_have_other_settings_but_no_other_model(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {"accuracy": 0.5})
    fields = {"train.max_steps": 128}
    put_finetuned(tmp_path, "b", "sst2", {"accuracy": 0.7}, fields=fields)
    (group,) = grouped(tmp_path)
    assert group.details == "no step limit (RTE), 128 steps (SST-2)"
    fields = {"init.path": "runs/other"}
    put_finetuned(tmp_path, "c", "cola", {"matthews": 0.9}, fields=fields)
    assert [len(group.members) for group in grouped(tmp_path)] == [2, 1]


def test_an_lstm_and_a_model_from_scratch_stand_beside_the_transformer(tmp_path):
    scratch = {"init.path": "none", "data.corpus": "/books/*.txt"}
    for name, fields in {"a": {}, "b": LSTM, "c": scratch, "d": NO_AUXILIARY}.items():
        put_finetuned(tmp_path, name, "rte", {"accuracy": 0.5}, fields=fields)
    (group,) = grouped(tmp_path)
    assert all(group.has(variant) for variant in paper.ABLATIONS)
    # But not if it was trained for another number of steps on the same task.
    fields = LSTM | {"train.max_steps": 128, "seed": 1}
    put_finetuned(tmp_path, "e", "rte", {"accuracy": 0.5}, fields=fields)
    assert [group.has(paper.FULL) for group in grouped(tmp_path)] == [True, False]


def test_an_lstm_joins_the_group_of_its_tasks_and_the_largest_is_first(tmp_path):
    fields = {"init.path": "runs/other", "train.max_steps": 128}
    put_finetuned(tmp_path, "a", "snli", {"accuracy": 0.5}, fields=fields)
    put_finetuned(tmp_path, "b", "rte", {"accuracy": 0.6})
    put_finetuned(tmp_path, "c", "sst2", {"accuracy": 0.7})
    put_finetuned(tmp_path, "d", "rte", {"accuracy": 0.8}, fields=LSTM)
    found = grouped(tmp_path)
    assert [[member.run.name for member in group.members] for group in found] == [
        ["b", "c", "d"],
        ["a"],
    ]
    assert found[0].label == "no step limit, from runs/pretrain"


def test_an_evaluation_scores_the_model_that_it_names(tmp_path):
    tuned = put_finetuned(tmp_path, "tuned", "mnli", {}, fields={"seed": 5})
    for split, score in {"test": 0.5, "dev_matched": 0.7, "train": 0.9}.items():
        fields = {"job": "evaluate", "init.path": str(tuned), "task.split": split}
        fields |= {"data.task_dir": "/data/glue"}
        put(tmp_path, split, {"eval/accuracy": score}, fields=fields)
    fields = {"job": "evaluate", "init.path": "gone", "task.name": "rte"}
    put(tmp_path, "lost", {"eval/accuracy": 0.2}, fields=fields)
    found, _, _ = runs.read([tmp_path])
    scored, warnings = scores_lib.scored(found)
    assert [(one.split, dict(one.scores)) for one in scored] == [
        ("dev", {}),
        ("dev", {"matched/accuracy": 0.7}),
        ("test", {"accuracy": 0.5}),
    ]
    assert {one.trained.seed for one in scored} == {5}
    assert len(warnings) == 1
    assert "lost is left out of the tables: its model gone does not" in warnings[0]


def test_a_checkpoint_that_was_chosen_by_hand_is_another_group(tmp_path):
    tuned = put_finetuned(tmp_path, "tuned", "rte", {"accuracy": 0.5})
    fields = {"job": "evaluate", "init.path": f"{tuned}/checkpoints/7"}
    put(tmp_path, "a", {"eval/accuracy": 0.7}, fields=fields)
    labels = [group.label for group in grouped(tmp_path)]
    assert labels == ["best checkpoint", "checkpoint 7"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("train.epochs", 4, "4 epochs"),
        ("train.epochs", "1", "1 epoch"),
        ("model.num_layers", 3, "3 layers"),
        ("optim.peak_learning_rate", 0.0001, "peak learning rate 1e-4"),
        ("optim.weight_decay", 0.25, "weight decay 0.25"),
        ("optim.name", "adamw", "optimizer adamw"),
        ("task.lm_coef", 0.0, "no auxiliary LM"),
        ("task.lm_coef", "0.0", "no auxiliary LM"),
        ("train.remat", False, "no remat"),
        ("init.path", "runs/a", "from runs/a"),
        ("init.path", "none", "from scratch"),
        ("size", "very_small", "very small"),
        ("size", "7", "size 7"),
    ],
)
def test_fields_and_axes_are_named_in_words(name, value, text):
    assert words.in_words(name, value) == text


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"small": 0.001, "large": 0.5}, {"small", "large"}),
        # These labels do not tell the groups apart: fields do.
        ({"small": 0.001, "small ": 0.5}, {"peak learning rate 1e-3", "... 0.5"}),
    ],
)
def test_a_sweeps_labels_name_the_groups_if_they_suffice(tmp_path, sizes, expected):
    for seed in (0, 1):
        for size, rate in sizes.items():
            fields = {"optim.peak_learning_rate": rate, "seed": seed}
            score = {"accuracy": 0.5}
            name = f"{rate}-{seed}"
            workdir = put_finetuned(tmp_path, name, "rte", score, fields=fields)
            labels = {"size": size.strip(), "seed": str(seed), "task.name": "rte"}
            (workdir / "labels.json").write_text(json.dumps(labels))
    expected = {text.replace("...", "peak learning rate") for text in expected}
    assert {group.label for group in grouped(tmp_path)} == expected


def test_every_field_that_changes_numbers_tells_groups_apart():
    """A new field needs no change here: its role decides."""
    base = RunConfig(job="finetune", init=InitConfig(path="runs/pretrain"))
    flat = config_lib.flatten(base)
    run = Run(Path("a"), "a", base, {}, [])
    spread = {"job", "seed", "task.name", "init.num_layers"}
    for path, value in flat.items():
        other = {bool: True, int: 7, float: 0.07, str: "b", tuple: (7,)}[type(value)]
        changed = config_lib.replace(base, {path: other})
        facts = [Scored(run, one, "rte", "dev", {}).facts for one in (base, changed)]
        role = config_lib.role(path)
        is_free = role in config_lib.FREE_ROLES or path in spread
        if role != Role.DATA:
            assert (facts[0] == facts[1]) == is_free, path


def test_runs_with_another_weight_of_the_auxiliary_loss_never_share_a_cell(tmp_path):
    for weight in (0.0, 0.25, 0.5):
        fields = {"task.lm_coef": weight}
        put_finetuned(tmp_path, str(weight), "rte", {"accuracy": weight}, fields=fields)
    first, second = grouped(tmp_path)
    cells = [one.cell(paper.FULL, "rte", "accuracy") for one in (first, second)]
    assert cells == [Cell((0.25,)), Cell((0.5,))]
    assert first.has(paper.NO_AUXILIARY)
    assert first.label == "auxiliary weight 0.25"
