import pytest

from gpt1_jax.reporting import runs, transfer
from gpt1_jax.reporting import scores as scores_lib
from gpt1_jax.reporting.groups import Cell
from tests.reporting.workdirs import LSTM, NO_AUXILIARY, REAL, put, put_finetuned


def studies(root):
    found, _, _ = runs.read([root])
    scored, _ = scores_lib.scored(found)
    return transfer.transfers(scored)


def put_study(root, task="rte", metric="accuracy", **fields):
    for num_layers in (-2, 0, 3, -1):
        for seed in (0, 1):
            score = 0.5 + num_layers / 100 + seed / 10
            name = f"{task}-{num_layers}-{seed}-{len(fields)}"
            given = {"init.num_layers": num_layers, "seed": seed} | fields
            put_finetuned(root, name, task, {metric: score}, fields=given)


def test_a_curve_is_over_layers_and_its_cells_over_seeds(tmp_path):
    put_study(tmp_path)
    (study,) = studies(tmp_path)
    assert (study.task, study.metric, study.depth) == ("rte", "accuracy", 12)
    assert {n: sorted(cell.values) for n, cell in study.dev.items()} == {
        -2: [0.48, 0.58],
        0: [0.5, 0.6],
        3: [0.53, 0.63],
        12: [0.49, 0.59],  # -1 is all twelve
    }
    assert study.train == {}


def test_scores_on_training_examples_are_the_second_curve(tmp_path):
    for num_layers, score in {0: 0.75, 5: 0.875}.items():
        fields = {"job": "finetune", "task.name": "mnli", "init.path": "runs/pretrain"}
        fields |= {"init.num_layers": num_layers, "data.task_dir": "/data/glue"}
        metrics = {"eval/accuracy": 0.1, "eval/matched/accuracy": score / 2}
        metrics |= {"eval/mismatched/accuracy": 0.2, "train_eval/accuracy": score}
        put(tmp_path, str(num_layers), metrics, fields=fields)
    (study,) = studies(tmp_path)
    assert study.dev == {0: Cell((0.375,)), 5: Cell((0.4375,))}
    assert study.train == {0: Cell((0.75,)), 5: Cell((0.875,))}


@pytest.mark.parametrize("name", ["earlier", "zlater"])  # workdirs are read by name
def test_of_runs_alike_the_one_with_a_score_on_training_examples_is_taken(
    tmp_path, name
):
    put_study(tmp_path)
    put(
        tmp_path,
        name,
        {"eval/accuracy": 0.25, "train_eval/accuracy": 0.75},
        fields=REAL
        | {"job": "finetune", "task.name": "rte", "init.path": "runs/pretrain"},
    )
    (study,) = studies(tmp_path)
    assert study.train == {12: Cell((0.75,))}
    assert sorted(study.dev[12].values) == [0.25, 0.59]


def test_ablations_alone_are_no_study_of_layers(tmp_path):
    for num_layers in (-2, -1):
        fields = {"init.num_layers": num_layers}
        put_finetuned(
            tmp_path, f"{num_layers}", "rte", {"accuracy": 1.0}, fields=fields
        )
    fields = LSTM | {"init.num_layers": 0}
    put_finetuned(tmp_path, "lstm", "rte", {"accuracy": 1.0}, fields=fields)
    fields = NO_AUXILIARY | {"init.num_layers": 3}
    put_finetuned(tmp_path, "other", "rte", {"accuracy": 1.0}, fields=fields)
    assert studies(tmp_path) == []


def test_studies_that_differ_in_more_than_layers_are_apart(tmp_path):
    put_study(tmp_path)
    put_study(tmp_path, **{"init.path": "runs/other"})
    found = studies(tmp_path)
    assert [len(study.dev) for study in found] == [4, 4]
    assert [study.name for study in found] == [
        "RTE, accuracy, from runs/pretrain",
        "RTE, accuracy, from runs/other",
    ]


def test_the_table_has_ours_and_the_readings_of_the_figure(tmp_path):
    put_study(tmp_path, "race")
    put_finetuned(tmp_path, "later", "race", fields={"init.num_layers": 7})
    found = transfer.table(studies(tmp_path))
    assert [row[1:] for row in found.rows[:5]] == [
        ["none", "53.0 (48.0 to 58.0)", "–", "2"],
        ["0 of 12", "55.0 (50.0 to 60.0)", "–", "2"],
        ["3 of 12", "58.0 (53.0 to 63.0)", "–", "2"],
        ["7 of 12", "not finished", "–", "1 not finished"],
        ["12 of 12", "54.0 (49.0 to 59.0)", "–", "2"],
    ]
    assert found.rows[5:] == [
        ["the paper, MNLI-m, dev", "0 of 12", "72", "–", "–"],
        ["the paper, MNLI-m, dev", "12 of 12", "82", "97", "–"],
        ["the paper, RACE, dev", "0 of 12", "40", "–", "–"],
        ["the paper, RACE, dev", "12 of 12", "60", "92", "–"],
    ]
    nothing = transfer.table([])
    assert (nothing.rows, nothing.missing) == ([], found.rows[5:])


def test_tasks_are_no_difference_that_needs_a_label(tmp_path):
    put_study(tmp_path, "rte")
    put_study(tmp_path, "race")
    assert [study.label for study in studies(tmp_path)] == ["", ""]
