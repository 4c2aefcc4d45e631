"""The command runs: the list of runs, and pruning of finished ones."""

import io
import os
import shutil

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax import runs as command
from gpt1_jax.jobs import finetune, pretrain
from gpt1_jax.reporting import listing
from gpt1_jax.reporting import runs as runs_lib
from gpt1_jax.workdirs import checksums, workdir
from tests import command_lines
from tests.reporting.workdirs import put, put_finetuned


def shown(capsys, *given, **flags) -> str:
    capsys.readouterr()
    command_lines.run(command, *given, **flags)
    return capsys.readouterr().out


def test_a_row_says_how_far_a_run_is_and_how_good(tmp_path):
    evaluated = [{"step": 50, "eval/loss": 1.0, "eval/perplexity": 2.71828}]
    begun = {"data.corpus": "books/*.txt", "train.max_steps": 900}
    put(tmp_path, "begun", rows=[*evaluated, {"step": 60}], fields=begun)
    put(tmp_path, "by-epochs", rows=[{"step": 7}], fields={"train.epochs": 3})
    put_finetuned(tmp_path, "rte", "rte", {"accuracy": 0.625})
    for number, name in enumerate(("rte", "begun", "by-epochs")):
        for path in (tmp_path / name).iterdir():
            os.utime(path, (1e9, 1e9 + 60 * number))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/config.json").write_text("{")
    runs, damaged, _ = runs_lib.read([tmp_path])
    header, *rows = listing.rows(runs, damaged)
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["run"] for row in rows] == ["rte", "begun", "by-epochs", "bad"]
    assert [row["step"] for row in rows] == ["300", "60 of 900", "7 of 3 epochs", "–"]
    assert [row["score"] for row in rows] == [
        "accuracy 0.625",
        "perplexity 2.718",
        "–",
        "–",
    ]
    assert [row["data"] for row in rows] == ["rte", "books/*.txt", "–", "–"]
    assert rows[3]["job"] == "damaged"
    assert {row["date"][:8] for row in rows[:3]} == {"2001-09-"}


def test_a_run_on_disk_is_listed_with_parameters_and_size(pretrained_workdir, capsys):
    text = shown(capsys, pretrained_workdir)
    model = gpt1_jax.load(pretrained_workdir)
    count = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    assert f"{count / 1000:.4g} k" in text
    files = [path for path in pretrained_workdir.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    assert f"{size / 1000:.3g} kB" in text
    assert "storyworld" in text


@pytest.fixture
def finished(pretrained_workdir, tmp_path):
    copy = tmp_path / "runs/pretrain"
    shutil.copytree(pretrained_workdir, copy)
    return copy


def test_a_pruned_model_is_the_same_and_can_be_fine_tuned(
    finished, pretrained_workdir, capsys, tmp_path, make_tuning_config, make_config
):
    before = gpt1_jax.load(pretrained_workdir)
    text = shown(capsys, finished.parent, prune=True, yes=True)
    assert f"optimizer states of 1 finished runs: {finished}" in text
    assert "dropped" in text
    assert not list(finished.glob("checkpoints/*/rest"))
    for path in (finished / "checkpoints").iterdir():
        assert checksums.problem(path) == ""
    after = gpt1_jax.load(finished)
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    older = gpt1_jax.load(finished / "checkpoints/3")
    assert older.step == 3
    finetune.run(make_tuning_config("rte", finished), tmp_path / "rte")
    config = after.config
    assert pretrain.run(config, finished)["steps"] == 6  # finished, as before
    assert "nothing to prune" in shown(capsys, finished, prune=True)


def test_a_pruned_run_is_not_resumed_for_more_steps(make_config, tmp_path):
    def config(steps):
        return make_config(
            train__batch_size=8,
            train__max_steps=steps,
            train__eval_every_steps=0,
            optim__schedule="constant",
            optim__warmup_steps=0,
        )

    pretrain.run(config(2), tmp_path / "run")
    command_lines.run(command, tmp_path, prune=True, yes=True)
    with pytest.raises(ValueError, match=r"has no optimizer state, as `gpt1 runs --pr"):
        pretrain.run(config(3), tmp_path / "run")
    assert gpt1_jax.load(tmp_path / "run").step == 2


@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
def test_nothing_is_dropped_without_a_yes(finished, capsys, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    text = shown(capsys, finished, prune=True)
    assert "cannot be resumed for more steps afterwards [y/N]" in text
    assert "nothing was dropped" in text
    assert len(list(finished.glob("checkpoints/*/rest"))) == 2


def test_a_yes_drops(finished, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Yes\n"))
    assert "\ndropped " in shown(capsys, finished, prune=True)
    assert not list(finished.glob("checkpoints/*/rest"))


def test_unfinished_damaged_and_used_runs_are_not_pruned(finished, capsys):
    (file := finished / "checkpoints/3/params/_METADATA").write_text("{}")
    with workdir.lock(finished):
        text = shown(capsys, finished, prune=True, yes=True)
    assert "is in use by process" in text
    assert len(list(finished.glob("checkpoints/*/rest"))) == 2
    (finished / "result.json").rename(finished / "result")
    assert "nothing to prune" in shown(capsys, finished, prune=True, yes=True)
    (finished / "result").rename(finished / "result.json")
    shown(capsys, finished, prune=True, yes=True)
    assert [p.parent.name for p in finished.glob("checkpoints/*/rest")] == ["3"]
    assert file.read_text() == "{}"


def test_yes_without_prune_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--yes is given without --prune; .* drop"):
        command_lines.run(command, tmp_path, yes=True)


def test_the_directory_is_runs_if_none_is_given(tmp_path, monkeypatch, capsys):
    put(tmp_path, "runs/mine")
    monkeypatch.chdir(tmp_path)
    command_lines.parse([command.__name__])
    command.main([])
    assert "mine" in capsys.readouterr().out
