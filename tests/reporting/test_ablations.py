import pytest

from gpt1_jax.reporting import ablations
from tests.reporting.workdirs import (
    NO_AUXILIARY,
    NOTHING,
    grouped,
    put_finetuned,
    row_of,
)


def test_gains_are_full_less_without_by_size_of_the_training_set(tmp_path):
    for seed in (0, 1, 2):
        fields = {"seed": seed}
        score = {"accuracy": 0.5 + seed / 10}
        put_finetuned(tmp_path, f"f{seed}", "rte", score, fields=fields)
        score = {"accuracy": 0.53}
        fields |= NO_AUXILIARY
        put_finetuned(tmp_path, f"a{seed}", "rte", score, fields=fields)
    put_finetuned(tmp_path, "qnli", "qnli", {"accuracy": 0.5})
    put_finetuned(tmp_path, "n", "qnli", {"accuracy": 0.5}, fields=NOTHING)
    found = ablations.gains(grouped(tmp_path))
    assert [gain.num_train for gain in found] == [
        *(2490, 3668, 5749, 8551, 67349, 104743, 363846, 392702)
    ]
    assert found[0].task == "rte"
    assert found[0].paper == pytest.approx(1.6)
    assert found[0].ours == {"": pytest.approx(7.0)}
    assert [gain.ours for gain in found[1:]] == [{}] * 7
    table = ablations.gains_table(found, is_synthetic=False)
    assert row_of(table, "RTE") == {
        "task": "RTE",
        "training examples": "2,490",
        "paper": "+1.6",
        "ours": "+7.0",
    }
    assert {row[0]: row[2] for row in table.missing}["CoLA"] == "−2.5"
    assert {row[0]: row[3] for row in table.missing}["QNLI"] == "not run"


def test_official_sizes_say_nothing_of_synthetic_tasks(tmp_path):
    found = ablations.gains(grouped_storyworld(tmp_path))
    table = ablations.gains_table(found, is_synthetic=True)
    assert "training examples" not in table.columns


def grouped_storyworld(root):
    fields = {"data.task_dir": "storyworld"}
    put_finetuned(root, "a", "rte", {"accuracy": 0.5}, fields=fields)
    return grouped(root)
