import json

import pytest

from gpt1_jax.reporting import runs
from tests.reporting.workdirs import REAL, STORYWORLD, put


def names(found) -> list[str]:
    return [run.name for run in found]


def test_a_directory_stands_for_the_workdirs_under_it_each_once(tmp_path):
    put(tmp_path, "study/sweep/seed=1", {})
    put(tmp_path, "study/sweep/seed=0", {})
    first = put(tmp_path, "study/pretrain", {})
    (first / "checkpoints/3").mkdir(parents=True)
    (first / "checkpoints/3/config.json").write_text("{}")  # within a workdir: none
    found, damaged, _ = runs.read([tmp_path / "study", first])
    assert names(found) == ["pretrain", "sweep/seed=0", "sweep/seed=1"]
    assert damaged == []


def test_no_workdir_and_no_directory_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*; a workdir of .* train"):
        runs.read([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"no directory .*nowhere; .*check the"):
        runs.read([tmp_path / "nowhere"])


def test_a_damaged_workdir_loses_no_other(tmp_path):
    put(tmp_path, "whole", {})
    for name, text in {
        "torn": '{"job": ',
        "other": '{"model_type": "openai-gpt"}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/metrics.jsonl").write_text("")
    found, damaged, warnings = runs.read([tmp_path])
    assert names(found) == ["whole"]
    assert [one.name for one in damaged] == ["bare", "other", "torn"]
    assert "bare is left out" in warnings[0]
    assert "config.json is missing" in damaged[0].why


@pytest.mark.parametrize("text", ['{"job"', "[]", '{"metrics": 3}', '"x"', "{}"])
def test_a_damaged_result_is_that_of_a_run_that_has_not_finished(tmp_path, text):
    workdir = put(tmp_path, "run", {"eval/accuracy": 1.0})
    (workdir / "result.json").write_text(text)
    (run,), damaged, warnings = runs.read([tmp_path])
    assert not run.is_finished
    assert run.metrics == {}
    assert damaged == []
    assert len(warnings) == 1
    assert str(workdir) in warnings[0]


def test_rows_end_where_the_log_is_torn(tmp_path):
    workdir = put(tmp_path, "run", rows=[{"step": 2, "a": 3.0}, {"step": 5, "b": 7.0}])
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "a": 13.0}\n{"step": 12, "a"')
    (run,), _, _ = runs.read([workdir])
    assert run.name == "run"
    assert run.series("a") == ([2, 11], [3.0, 13.0])
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 17, "a": 19.0}\n')
    (run,), _, _ = runs.read([workdir])
    assert run.series("a") == ([2, 11], [3.0, 13.0])


def test_each_job_is_synthetic_by_the_data_that_it_scores(tmp_path):
    expected = {
        "a": ({"job": "pretrain", "data.corpus": "storyworld"}, True),
        # Only the tokenizer of a model from scratch comes from storyworld here.
        "b": ({"job": "finetune", "data.corpus": "storyworld"} | REAL, False),
        "c": ({"job": "finetune", "data.task_dir": "storyworld"}, True),
        "d": ({"job": "pretrain", "data.corpus": "/books/*.txt"}, False),
        "e": ({"job": "zeroshot", "init.path": str(tmp_path / "a")}, True),
        "f": ({"job": "zeroshot", "init.path": "gone/a"}, True),  # found by its name
        "g": ({"job": "zeroshot", "init.path": str(tmp_path / "a")} | REAL, False),
    }
    for name, (fields, _) in expected.items():
        put(tmp_path, name, {}, fields=fields)
    found, _, _ = runs.read([tmp_path])
    assert {run.name: run.is_synthetic for run in found} == {
        name: is_synthetic for name, (_, is_synthetic) in expected.items()
    }


def test_a_source_is_found_on_disk_by_path_and_else_by_a_name_that_is_one(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # a relative path must lead nowhere: not to runs here
    pretrained = put(tmp_path, "elsewhere/pretrain", {}, fields=STORYWORLD)
    inits = {
        "by-path": str(pretrained / "checkpoints/17"),
        "by-name": "runs/pretrain",
        "none": "none",
        "gone": "runs/other",
    }
    for name, path in inits.items():
        put(tmp_path, f"study/{name}", {}, fields={"init.path": path})
    alone, _, _ = runs.read([tmp_path / "study"])
    together, _, _ = runs.read([tmp_path])
    assert [run.name for run in alone if runs.source(run, alone)] == ["by-path"]
    assert [run.path.name for run in together if runs.source(run, together)] == [
        "by-name",
        "by-path",
    ]
    put(tmp_path, "second/pretrain", {})
    both, _, _ = runs.read([tmp_path])
    assert [run.path.name for run in both if runs.source(run, both)] == ["by-path"]


def test_a_converted_model_is_no_pretraining(tmp_path):
    workdir = put(tmp_path, "gpt1", {})
    result = {"job": "convert", "steps": 0, "origin": {}}
    (workdir / "result.json").write_text(json.dumps(result))
    (run,), _, warnings = runs.read([workdir])
    assert (run.job, run.metrics, warnings) == ("convert", {}, [])


@pytest.mark.parametrize(
    ("text", "labels"), [('{"seed": "3"}', {"seed": "3"}), ("{", {}), ('["a"]', {})]
)
def test_labels_of_a_sweep_are_read_and_damaged_ones_are_warned_of(
    tmp_path, text, labels
):
    workdir = put(tmp_path, "run", {})
    (workdir / "labels.json").write_text(text)
    (run,), _, warnings = runs.read([workdir])
    assert run.labels == labels
    said = f"{workdir}/labels.json is damaged; the run is named by its config instead"
    assert warnings == ([] if labels else [said])
