"""Tables 1 to 5; the paper's numbers written out here once more, from the paper."""

from pathlib import Path

import pytest

from gpt1_jax.config import InitConfig, RunConfig
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import ablations, curves, paper, results, runs
from gpt1_jax.reporting import scores as scores_lib
from gpt1_jax.reporting.groups import Cell, Group, Half
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.scores import Scored
from tests.reporting.workdirs import (
    LSTM,
    NO_AUXILIARY,
    NOTHING,
    STORYWORLD,
    grouped,
    put,
    put_finetuned,
    row_of,
)


def table(number: int, groups, **more):
    is_synthetic = more.get("is_synthetic", False)
    return results.scores_table(number, "title", groups, is_synthetic=is_synthetic)


def test_every_result_of_the_papers_model_is_in_its_table_beside_the_best_earlier():
    shown = {
        number: [tuple(row[:3]) for row in table(number, []).missing]
        for number in (2, 3, 4)
    }
    assert shown == {
        2: [
            ("MNLI matched, accuracy", "80.6 SAN, 3 models", "82.1"),
            ("MNLI mismatched, accuracy", "80.1 SAN, 3 models", "81.4"),
            ("SNLI, accuracy", "89.3 ESIM + ELMo, 5 models", "89.9"),
            ("SciTail, accuracy", "83.3 CAFE", "88.3"),
            ("QNLI, accuracy", "82.3 GenSen", "88.1"),
            ("RTE, accuracy", "61.7 Multi-task BiLSTM + Attn", "56.0"),
        ],
        3: [
            ("Story Cloze, accuracy", "77.6 Hidden Coherence Model", "86.5"),
            ("RACE middle, accuracy", "60.2 BiAttention MRU, 9 models", "62.9"),
            ("RACE high, accuracy", "50.3 BiAttention MRU, 9 models", "57.4"),
            ("RACE, accuracy", "53.3 BiAttention MRU, 9 models", "59.0"),
        ],
        4: [
            ("CoLA, Matthews corr.", "35.0 Single-task BiLSTM + ELMo + Attn", "45.4"),
            ("SST-2, accuracy", "93.2 Sparse byte mLSTM", "91.3"),
            ("MRPC, F1", "86.0 TF-KLD", "82.3"),
            ("STS-B, Pearson corr.", "81.0 ECNU, a mixed ensemble", "82.0"),
            ("QQP, F1", "66.1 Single-task BiLSTM + ELMo + Attn", "70.3"),
            ("GLUE score", "68.9 Multi-task BiLSTM + ELMo + Attn", "72.8"),
        ],
    }
    ours = {row[3] for number in (2, 3, 4) for row in table(number, []).missing}
    assert ours == {"not run"}
    assert not any(table(number, []).was_run for number in (2, 3, 4))


def test_the_glue_formula_gives_the_papers_score_of_the_papers_numbers():
    percents = {
        task: [score.percent for score in TASKS[task].paper]
        for task in paper.GLUE_TASKS
    }
    assert percents["mrpc"] == [82.3, 75.7]
    assert percents["mnli"] == [82.1, 81.4]
    assert len(percents) == 9
    members = []
    for task, own in percents.items():
        scores = {s.metric: s.percent / 100 for s in TASKS[task].paper}
        config = RunConfig(job="finetune", init=InitConfig(path="runs/pretrain"))
        run = Run(Path(task), task, config, {"job": "finetune"}, [])
        members.append(Scored(run, config, task, "dev", scores))
        assert len(own) == len(scores)
    cell = results.glue_cell(Group(tuple(members)))
    assert 100 * cell.median == pytest.approx(72.82, abs=0.005)


def test_averages_of_table_5_are_the_papers_the_last_cut_off():
    exact = {
        row.average: sum(row.percent.values()) / 8 for row in paper.ABLATIONS.values()
    }
    assert exact == {
        74.7: pytest.approx(74.65),
        59.9: pytest.approx(59.925),
        75.0: pytest.approx(75.025),
        69.1: pytest.approx(69.1625),
    }
    assert paper.ABLATIONS[paper.FULL].percent["mnli"] == 81.8


def test_table_1_has_the_twelve_tasks_with_their_published_sizes():
    table_1 = results.tasks_table()
    assert len(table_1.rows) == 12
    assert row_of(table_1, "Question answering", "RACE") == {
        "kind": "Question answering",
        "task": "RACE",
        "train": "87,866",
        "dev": "1,436 + 3,451",
        "test": "1,436 + 3,498",
    }
    assert table_1.rows[-1] == ["", "CoLA", "8,551", "1,043", "1,063"]


def test_ours_stands_beside_the_papers_with_difference_split_and_seeds(tmp_path):
    for seed, score in enumerate((0.5, 0.53, 0.75)):
        fields = {"seed": seed}
        put_finetuned(tmp_path, f"r{seed}", "rte", {"accuracy": score}, fields=fields)
    put_finetuned(tmp_path, "q", "qnli")
    scores = {"accuracy": 0.3, "matched/accuracy": 0.61, "mismatched/accuracy": 0.67}
    tuned = put_finetuned(tmp_path, "m", "mnli", scores)
    fields = {"job": "evaluate", "init.path": str(tuned), "task.split": "test"}
    scores = {"eval/matched/accuracy": 0.59}
    put(tmp_path, "e", scores, fields=fields | {"data.task_dir": "/data/glue"})
    found = table(2, grouped(tmp_path))
    assert row_of(found, "RTE, accuracy") == {
        "result": "RTE, accuracy",
        "best earlier system": "61.7 Multi-task BiLSTM + Attn",
        "paper": "56.0",
        "ours": "53.0 (50.0 to 75.0)",
        "difference": "−3.0",
        "split": "dev",
        "seeds": "3",
    }
    matched = [row[3:] for row in found.rows[:2]]
    assert matched == [["61.0", "−21.1", "dev", "1"], ["59.0", "−23.1", "test", "1"]]
    assert found.rows[1][:3] == ["", "", ""]
    assert row_of(found, "MNLI mismatched, accuracy")["ours"] == "67.0"
    assert row_of(found, "QNLI, accuracy")["ours"] == "not finished"
    assert [row[0] for row in found.missing] == ["SNLI, accuracy", "SciTail, accuracy"]


def test_only_the_papers_own_model_is_in_tables_2_to_4(tmp_path):
    for name, fields in {"a": NOTHING, "b": NO_AUXILIARY, "c": LSTM}.items():
        put_finetuned(tmp_path, name, "rte", {"accuracy": 0.5}, fields=fields)
    assert not table(2, grouped(tmp_path)).was_run


def test_groups_have_rows_of_their_own_and_names_in_words(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {"accuracy": 0.5})
    fields = {"train.max_steps": 128}
    put_finetuned(tmp_path, "b", "rte", {"accuracy": 0.7}, fields=fields)
    found = table(2, grouped(tmp_path))
    assert [row[3:] for row in found.rows[-2:]] == [
        ["50.0", "−6.0", "dev", "1", "no step limit"],
        ["70.0", "+14.0", "dev", "1", "128 steps"],
    ]


def test_synthetic_scores_are_marked_and_not_compared(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {"accuracy": 0.5}, fields=STORYWORLD)
    found = table(2, grouped(tmp_path), is_synthetic=True)
    assert "difference" not in found.columns
    assert row_of(found, "RTE, accuracy")["ours"] == "50.0"
    assert "can't be compared with the paper's" in found.notes[0]


GLUE_SCORES = {
    "cola": {"matthews": 0.1},
    "sst2": {"accuracy": 0.9},
    "mrpc": {"f1": 0.8, "accuracy": 0.6},
    "stsb": {"pearson": 0.5, "spearman": 0.3},
    "qqp": {"f1": 0.2, "accuracy": 0.4},
    "mnli": {"accuracy": 0, "matched/accuracy": 0.7, "mismatched/accuracy": 0.5},
    "qnli": {"accuracy": 0.55},
    "rte": {"accuracy": 0.65},
    "wnli": {"accuracy": 0.35},
}


def test_the_glue_score_is_there_once_all_nine_tasks_are(tmp_path):
    for task, scores in GLUE_SCORES.items():
        if task != "wnli":
            put_finetuned(tmp_path, task, task, scores)
    found = table(4, grouped(tmp_path))
    assert found.missing[-1][0] == "GLUE score"
    assert found.notes[-1] == "The GLUE score is not run: it lacks WNLI."
    put_finetuned(tmp_path, "wnli", "wnli", GLUE_SCORES["wnli"])
    found = table(4, grouped(tmp_path))
    # (.1 + .9 + .7 + .4 + .3 + .6 + .55 + .65 + .35) / 9 = 50.56 %
    row = row_of(found, "GLUE score")
    assert (row["ours"], row["difference"], row["split"]) == ("50.6", "−22.2", "dev")
    assert row["seeds"] == "1"
    assert "lacks" not in found.notes[-1]


def test_nothing_of_glue_is_not_called_a_list_of_nine():
    assert table(4, []).notes[-1].endswith("not run: it lacks all nine.")


def test_table_5_averages_ours_over_the_tasks_of_all_its_rows(tmp_path):
    cells = {
        "a": ("cola", {"matthews": 0.2}, {}),
        "b": ("rte", {"accuracy": 0.6}, {}),
        "c": ("mnli", {"matched/accuracy": 0.7, "mismatched/accuracy": 0.5}, {}),
        "d": ("cola", {"matthews": 0.1}, LSTM),
        "e": ("mnli", {"matched/accuracy": 0.5, "mismatched/accuracy": 0.4}, LSTM),
    }
    for name, (task, scores, fields) in cells.items():
        put_finetuned(tmp_path, name, task, scores, fields=fields)
    (found,) = ablations.ablations_tables(grouped(tmp_path), is_synthetic=False)
    assert found.columns[2:4] == ("average", "average of 2")
    full, lstm = found.rows[1], found.rows[3]
    cola, mnli, rte = (found.columns.index(name) for name in ("CoLA", "MNLI", "RTE"))
    assert [full[n] for n in (1, 2, 3, cola, mnli, rte)] == [
        *("ours", "–", "40.0"),
        *("20.0", "60.0", "60.0"),
    ]
    assert [lstm[n] for n in (3, cola, mnli, rte)] == [
        "27.5",
        "10.0",
        "45.0",
        "not run",
    ]
    # The paper's over the same two: (45.4 + 81.8) / 2, (30.3 + 73.7) / 2.
    assert (found.rows[0][2:4], found.rows[2][2:4]) == (
        ["74.7", "63.6"],
        ["69.1", "52.0"],
    )
    assert found.missing_names == "without pre-training; without the auxiliary LM"
    assert set(found.emphasised) == {1, 3}
    assert "All of our rows have these tasks: CoLA, MNLI." in found.notes[0]


def test_table_5_has_one_average_where_all_eight_tasks_were_run(tmp_path):
    for task, scores in GLUE_SCORES.items():
        put_finetuned(tmp_path, task, task, scores)
    (found,) = ablations.ablations_tables(grouped(tmp_path), is_synthetic=False)
    # (.1 + .9 + .8 + .5 + .2 + .6 + .55 + .65) / 8
    assert found.columns[:4] == ["model", "", "average", "CoLA"]
    assert found.rows[1][2:5] == ["53.8", "10.0", "90.0"]


def test_each_group_with_an_ablation_has_its_own_table_5(tmp_path):
    for steps in (100, 200, 300):
        fields = {"train.max_steps": steps}
        scores = {"accuracy": steps / 1000}
        put_finetuned(tmp_path, f"f{steps}", "rte", scores, fields=fields)
        if steps < 300:
            fields |= NOTHING
            put_finetuned(tmp_path, f"n{steps}", "rte", scores, fields=fields)
    found = ablations.ablations_tables(grouped(tmp_path), is_synthetic=False)
    assert [one.title for one in found] == [
        "Table 5: ablations, 100 steps",
        "Table 5: ablations, 200 steps",
    ]
    assert [one.rows[1][3] for one in found] == ["10.0", "20.0"]


def test_without_runs_table_5_says_so():
    (found,) = ablations.ablations_tables([], is_synthetic=False)
    assert [row[0] for row in found.missing] == [
        "Transformer, full",
        "without pre-training",
        "without the auxiliary LM",
        "LSTM, full",
    ]
    assert not found.was_run
    assert ablations.cell(Group(()), paper.FULL, "mnli") == Cell()


@pytest.mark.parametrize("field", ["data.train_file", "data.label_column"])
def test_own_labels_of_two_tables_do_not_share_a_cell(field, tmp_path):
    for name, score in {"a": 0.5, "b": 0.75}.items():
        scores = {"accuracy": score}
        put_finetuned(tmp_path, name, "own", scores, fields={field: name})
    found, _, _ = runs.read([tmp_path])
    scored, _ = scores_lib.scored(found)
    (own,) = results.own_blocks(Half(found, scored, False))
    assert sorted(row[2] for row in own.rows) == ["50.0", "75.0"]


def test_own_tasks_have_a_table_with_their_variants_and_splits(tmp_path):
    for seed, score in enumerate((0.5, 0.75)):
        scores = {"accuracy": score, "f1": 0.25}
        fields = {"seed": seed}
        rows = [{"step": 3, "eval/accuracy": score, "eval/f1": 0.25}]
        tuned = put_finetuned(tmp_path, f"s{seed}", "tone", scores, rows, fields=fields)
    put_finetuned(tmp_path, "n", "tone", {"accuracy": 0.3}, fields=NOTHING)
    put_finetuned(tmp_path, "m", "mood")
    fields = {"job": "evaluate", "init.path": str(tuned), "task.split": "test"}
    put(tmp_path, "e", {"eval/accuracy": 0.125}, fields=fields)
    found, _, _ = runs.read([tmp_path])
    scored, warnings = scores_lib.scored(found)
    (own,) = results.own_blocks(Half(found, scored, False))
    assert own.rows == [
        ["mood", "full", "not finished", "dev", "1 not finished"],
        ["tone, accuracy", "full", "62.5 (50.0 to 75.0)", "dev", "2"],
        ["tone, F1", "full", "25.0", "dev", "2"],
        ["tone, accuracy", "full", "12.5", "test", "1"],
        ["tone, accuracy", "no pre-training", "30.0", "dev", "1"],
    ]
    assert warnings == []
    series = curves._panels(Half(found, scored, False), is_loss=False)
    assert series == {"tone": {("full", ""): [([3], [0.5]), ([3], [0.75])]}}
    assert results.own_blocks(Half([], [], False)) == []
