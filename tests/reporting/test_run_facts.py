from gpt1_jax.reporting import run_facts, runs
from tests.reporting.workdirs import put, put_finetuned, row_of


def tables(root):
    found, damaged, _ = runs.read([root])
    return run_facts.facts_tables(found, damaged)


def test_what_most_runs_of_a_job_share_is_told_once(tmp_path):
    rows = [
        {"step": n, "train/tokens_per_second": rate}
        for n, rate in enumerate((7, 1300, 1500))
    ]
    more = {"seconds": 61.0, "devices": ["cpu", "cpu", "gpu"]}
    fields = {"job": "finetune", "task.name": "rte", "train.max_steps": 300}
    put(tmp_path, "a", {}, rows, fields=fields, **more)
    put(tmp_path, "b", {}, fields=fields | {"seed": 3, "task.lm_coef": 0.25})
    put(tmp_path, "c", fields=fields)
    put(tmp_path, "p", {})
    pretrain, finetune = tables(tmp_path)
    assert finetune.title == "finetune: 2 of 3 finished, 2m02s in all"
    assert finetune.notes == (
        "Unless a row says otherwise: train.max_steps=300, task.name=rte. All other "
        "fields have their defaults.",
    )
    assert row_of(finetune, "a") == {
        "workdir": "a",
        "config": "seed=0",
        "devices": "2 x cpu, 1 x gpu",
        "wall time": "1m01s",
        "tokens/s": "1,300",
        "steps": "300",
    }
    assert row_of(finetune, "b")["config"] == "seed=3, task.lm_coef=0.25"
    assert list(row_of(finetune, "c").values())[2:] == ["–", "–", "–", "not finished"]
    assert pretrain.title == "pretrain: 1 of 1 finished, 1m01s in all"


def test_damaged_workdirs_have_a_table_that_says_why(tmp_path):
    put_finetuned(tmp_path, "a", "rte", {})
    (tmp_path / "b").mkdir()
    (tmp_path / "b/config.json").write_text("{")
    *_, damaged = tables(tmp_path)
    (row,) = damaged.rows
    assert row[:2] == ["b", "not finished"]
    assert "config.json is damaged" in row[2]
