import pytest

from gpt1_jax import config as config_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.reporting import groups, paper, runs
from gpt1_jax.reporting.groups import Cell
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
        ({"init.num_layers": 11}, ""),
        ({"init.num_layers": 0}, ""),
        (NOTHING, paper.NO_PRETRAINING),
        ({"init.path": "none"}, paper.NO_PRETRAINING),
        (NO_AUXILIARY, paper.NO_AUXILIARY),
        (NO_AUXILIARY | NOTHING, ""),
        (LSTM, paper.LSTM),
        (LSTM | NOTHING, ""),
        (LSTM | NO_AUXILIARY, ""),
    ],
)
def test_the_config_says_which_row_of_table_5_a_run_is(fields, expected):
    config_dict = config_lib.to_config_dict(RunConfig(job="finetune"))
    config_dict.update_from_flattened_dict({"init.path": "runs/pretrain"} | fields)
    assert groups.variant(config_lib.from_mapping(config_dict)) == expected


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
    assert (group.label, group.differs) == ("", "")
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
    assert cells == {"A": (0.5,), "B": (0.7,), "C": (0.9,)}
    assert [group.differs for group in found] == [
        "train.max_steps=0, init.path=runs/pretrain",
        "train.max_steps=0, init.path=runs/other",
        "train.max_steps=128, init.path=runs/pretrain",
    ]


def test_another_task_may_have_other_settings_but_no_other_model(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {"accuracy": 0.5})
    fields = {"train.max_steps": 128}
    put_finetuned(tmp_path, "b", "sst2", {"accuracy": 0.7}, fields=fields)
    (group,) = grouped(tmp_path)
    assert group.differs == "train.max_steps 0 (RTE), 128 (SST-2)"
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
    assert found[0].differs == (
        "train.max_steps=0, init.path=runs/pretrain; LSTM: init.path=runs/pretrain-lstm"
    )


def test_an_evaluation_scores_the_model_that_it_names(tmp_path):
    tuned = put_finetuned(tmp_path, "tuned", "mnli", {}, fields={"seed": 5})
    for split, score in {"test": 0.5, "dev_matched": 0.7, "train": 0.9}.items():
        fields = {"job": "evaluate", "init.path": str(tuned), "task.split": split}
        fields |= {"data.task_dir": "/data/glue"}
        put(tmp_path, split, {"eval/accuracy": score}, fields=fields)
    fields = {"job": "evaluate", "init.path": "gone", "task.name": "rte"}
    put(tmp_path, "lost", {"eval/accuracy": 0.2}, fields=fields)
    found, _, _ = runs.read([tmp_path])
    scored, warnings = groups.scored(found)
    assert [(one.split, dict(one.scores)) for one in scored] == [
        ("dev", {}),
        ("dev", {"matched/accuracy": 0.7}),
        ("test", {"accuracy": 0.5}),
    ]
    assert {one.trained.seed for one in scored} == {5}
    assert len(warnings) == 1
    assert "lost scores a model that is not here any more, gone" in warnings[0]


def test_a_users_own_task_is_in_no_table(tmp_path):
    tuned = put_finetuned(tmp_path, "tuned", "tone", {"accuracy": 0.5})
    fields = {"job": "evaluate", "init.path": str(tuned), "task.split": "dev"}
    put(tmp_path, "evaluated", {"eval/accuracy": 0.5}, fields=fields)
    said = "tone: in none of the paper's tables; their runs are under run facts only"
    for given in (tmp_path, tmp_path / "evaluated"):  # its model lies outside
        found, _, _ = runs.read([given])
        assert groups.scored(found) == ([], [said])


def test_a_checkpoint_that_was_chosen_by_hand_is_another_group(tmp_path):
    tuned = put_finetuned(tmp_path, "tuned", "rte", {"accuracy": 0.5})
    fields = {"job": "evaluate", "init.path": f"{tuned}/checkpoints/7"}
    put(tmp_path, "a", {"eval/accuracy": 0.7}, fields=fields)
    assert [group.differs for group in grouped(tmp_path)] == [
        "checkpoint scored=the best",
        "checkpoint scored=7",
    ]


def test_labels_do_not_end_at_z():
    labels = groups.labels()
    assert [next(labels) for _ in range(28)][-3:] == ["Z", "AA", "AB"]
